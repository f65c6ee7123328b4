//! Configurations, written as a user would.

use std::fmt::Write;
use std::path::PathBuf;

use crate::artefacts::Artefact;

/// A guest of a configuration.
#[derive(Clone, Debug)]
pub struct Guest {
    name: String,
    cpus: Vec<u32>,
    /// vCPUs of a guest that shares its cores; one that owns them has one for each.
    shared: Option<usize>,
    memory: String,
    kernel: PathBuf,
    ramdisk: Option<PathBuf>,
    bootargs: String,
    properties: String,
    disks: Vec<String>,
    /// Nodes beside it.
    beside: String,
}

impl Guest {
    /// A Debian guest, a vCPU on each of `cpus`.
    pub fn debian(name: &str, cpus: &[u32]) -> Self {
        Self {
            ramdisk: Some(Artefact::Ramdisk.path()),
            bootargs: format!("console=ttyAMA0 quiet hostname={name}"),
            memory: "128M".into(),
            ..Self::bare(name, cpus, Artefact::Kernel.path())
        }
    }

    /// The guest that checks promises.
    pub fn probe(name: &str, cpus: &[u32]) -> Self {
        Self::bare(name, cpus, Artefact::Probe.path())
    }

    /// The guest that attacks.
    pub fn rogue(name: &str, cpus: &[u32]) -> Self {
        Self::bare(name, cpus, Artefact::Rogue.path())
    }

    /// The guest that loads a core with this, on these cores of its own.
    pub fn load(name: &str, cpus: &[u32], load: &str) -> Self {
        Self::bare(name, cpus, Artefact::Load.path()).memory("4M").bootargs(&format!("load={load}"))
    }

    fn bare(name: &str, cpus: &[u32], kernel: PathBuf) -> Self {
        Self {
            name: name.into(),
            cpus: cpus.into(),
            shared: None,
            memory: "32M".into(),
            kernel,
            ramdisk: None,
            bootargs: String::new(),
            properties: String::new(),
            disks: Vec::new(),
            beside: String::new(),
        }
    }

    /// With a disk on the partition of this label or `PARTUUID=…`.
    pub fn disk(mut self, partition: &str) -> Self {
        self.disks.push(format!("partition = \"{partition}\";"));
        self
    }

    /// With a disk that it may only read.
    pub fn read_only_disk(mut self, partition: &str) -> Self {
        self.disks.push(format!("partition = \"{partition}\"; read-only;"));
        self
    }

    /// On other cores.
    pub fn cpus(mut self, cpus: &[u32]) -> Self {
        self.cpus = cpus.into();
        self
    }

    /// With so many vCPUs that share its cores with others, or all shared cores if it names none.
    pub fn shared(mut self, vcpus: usize) -> Self {
        self.shared = Some(vcpus);
        self
    }

    /// With a group beside it, of these members, one at least, and these properties more.
    pub fn group(mut self, name: &str, members: &[&str], properties: &str) -> Self {
        let paths: Vec<String> = members.iter().map(|name| format!("&{{/{name}}}")).collect();
        let _ = writeln!(
            self.beside,
            "\t{name} {{ compatible = \"tessera,group\"; members = <{}>; {properties} }};",
            paths.join(" ")
        );
        self
    }

    /// With this much memory.
    pub fn memory(mut self, memory: &str) -> Self {
        self.memory = memory.into();
        self
    }

    /// With a property more, such as `control;`.
    pub fn with(mut self, property: &str) -> Self {
        self.properties = format!("{}\t\t{property}\n", self.properties);
        self
    }

    /// With another kernel.
    pub fn kernel(mut self, kernel: PathBuf) -> Self {
        self.kernel = kernel;
        self
    }

    /// With these words at the end of its command line.
    pub fn bootargs(mut self, more: &str) -> Self {
        let space = if self.bootargs.is_empty() { "" } else { " " };
        self.bootargs = format!("{}{space}{more}", self.bootargs);
        self
    }

    /// A Debian guest that runs this shell script when it has started.
    pub fn script(self, script: &str) -> Self {
        self.bootargs(&format!("t.run={}", base64(script)))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn node(&self) -> String {
        let cpus: Vec<String> = self.cpus.iter().map(u32::to_string).collect();
        let mut node = format!(
            "\t{} {{\n\t\tcompatible = \"tessera,vm\";\n\t\tvcpus = <{}>;\n\
             \t\tmemory = \"{}\";\n\t\tkernel = \"{}\";\n\t\tbootargs = \"{}\";\n",
            self.name,
            self.shared.unwrap_or(cpus.len()),
            self.memory,
            self.kernel.display(),
            self.bootargs
        );
        if !cpus.is_empty() {
            let _ = writeln!(node, "\t\tcpus = <{}>;", cpus.join(" "));
        }
        if self.shared.is_some() {
            node += "\t\tcpu-policy = \"shared\";\n";
        }
        if let Some(ramdisk) = &self.ramdisk {
            let _ = writeln!(node, "\t\tramdisk = \"{}\";", ramdisk.display());
        }
        node += &self.properties;
        for (number, disk) in self.disks.iter().enumerate() {
            let _ = writeln!(node, "\t\tdisk-{number} {{ {disk} }};");
        }
        node + "\t};\n" + &self.beside
    }
}

/// The configuration with these guests.
pub fn dts(guests: &[Guest]) -> String {
    let nodes: String = guests.iter().map(Guest::node).collect();
    format!("/dts-v1/;\n/ {{\n\tcompatible = \"tessera,config\";\n{nodes}}};\n")
}

/// For a command line, which has no spaces.
fn base64(text: &str) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in text.as_bytes().chunks(3) {
        let bits = three.iter().fold(0, |bits, &byte| bits << 8 | u32::from(byte))
            << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= three.len() { digit.into() } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn a_command_line_can_carry_a_script() {
        assert_eq!(base64("echo hi"), "ZWNobyBoaQ==");
        assert_eq!(base64("a b"), "YSBi");
    }
}
