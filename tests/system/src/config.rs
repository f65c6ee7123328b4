//! Configurations, written as a user would.

use std::fmt::Write;
use std::path::PathBuf;

use crate::artefacts::Artefact;

/// A guest of a configuration.
#[derive(Clone, Debug)]
pub struct Guest {
    name: String,
    cpus: Vec<u32>,
    memory: String,
    kernel: PathBuf,
    ramdisk: Option<PathBuf>,
    bootargs: String,
    disks: Vec<String>,
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

    fn bare(name: &str, cpus: &[u32], kernel: PathBuf) -> Self {
        Self {
            name: name.into(),
            cpus: cpus.into(),
            memory: "32M".into(),
            kernel,
            ramdisk: None,
            bootargs: String::new(),
            disks: Vec::new(),
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

    /// With this much memory.
    pub fn memory(mut self, memory: &str) -> Self {
        self.memory = memory.into();
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

    fn node(&self) -> String {
        let cpus: Vec<String> = self.cpus.iter().map(u32::to_string).collect();
        let mut node = format!(
            "\t{} {{\n\t\tcompatible = \"tessera,vm\";\n\t\tvcpus = <{}>;\n\t\tcpus = <{}>;\n\
             \t\tmemory = \"{}\";\n\t\tkernel = \"{}\";\n\t\tbootargs = \"{}\";\n",
            self.name,
            cpus.len(),
            cpus.join(" "),
            self.memory,
            self.kernel.display(),
            self.bootargs
        );
        if let Some(ramdisk) = &self.ramdisk {
            let _ = writeln!(node, "\t\tramdisk = \"{}\";", ramdisk.display());
        }
        for (number, disk) in self.disks.iter().enumerate() {
            let _ = writeln!(node, "\t\tdisk-{number} {{ {disk} }};");
        }
        node + "\t};\n"
    }
}

/// The configuration with these guests.
pub fn dts(guests: &[Guest]) -> String {
    let nodes: String = guests.iter().map(Guest::node).collect();
    format!("/dts-v1/;\n/ {{\n\tcompatible = \"tessera,config\";\n{nodes}}};\n")
}
