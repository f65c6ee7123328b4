//! QEMU's boards, with a choice of what differs between boards.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::artefacts::{Artefact, qemu, root};
use crate::machine::{Boot, Machine};
use crate::target::Board;

/// How to start it.
#[derive(Clone, Debug)]
pub struct Qemu {
    /// `-M`.
    pub machine: String,
    /// `-cpu`.
    pub cpu: String,
    /// `-m`.
    pub memory: String,
    /// `-smp`.
    pub cores: u32,
    /// `-kernel`.
    pub kernel: PathBuf,
    /// `-append`: Tessera's own command line.
    pub command_line: String,
    /// `-dtb`, for a board that QEMU makes no device tree for.
    pub dtb: Option<PathBuf>,
    /// The disk speaks virtio-mmio as it was before version 1.0, which is QEMU's own choice.
    pub legacy_disk: bool,
    /// What is wrong with the disk.
    pub fault: Option<DiskFault>,
    /// Time is counted: an instruction takes 2 to the power of this nanoseconds, on one core after the other, and where all
    /// cores wait it is what they wait for at once. What a guest measures does not depend on the host then.
    pub counted: Option<u32>,
    /// Semihosting, by which Tessera tells an exit status. It would let guests reach the host, so tests that run
    /// hostile ones leave it off.
    pub semihosting: bool,
}

/// What can be wrong with a disk.
#[derive(Clone, Copy, Debug)]
pub enum DiskFault {
    /// A sector that cannot be read.
    Unreadable(u64),
    /// It works for so many bytes, and then answers no more.
    SilentAfter(u64),
}

/// QEMU's name of the Raspberry Pi 4.
const RASPI4B: &str = "raspi4b";
/// Its cores share one thread of the host, and its card is driven word by word.
const RASPI4B_SLOWNESS: u32 = 4;

impl Qemu {
    /// The sample's board.
    ///
    /// # Panics
    ///
    /// QEMU has no board on a shelf.
    pub fn new(machine: Machine) -> Self {
        let (options, dtb) = match machine {
            Machine::VirtGicv3 => ("virt,virtualization=on,gic-version=3", None),
            Machine::VirtGicv2 => ("virt,virtualization=on,gic-version=2", None),
            Machine::Raspi4b => (RASPI4B, Some(Artefact::Dtb.path())),
            Machine::Shelf => panic!("{} is not emulated", machine.name()),
        };
        Self {
            machine: options.into(),
            cpu: "cortex-a72".into(),
            memory: "2G".into(),
            cores: 4,
            kernel: Artefact::Image.path(),
            command_line: String::new(),
            dtb,
            legacy_disk: false,
            fault: None,
            counted: None,
            semihosting: false,
        }
    }

    /// The board, off, with this in it.
    pub fn board(&self, boot: &Boot) -> Box<dyn Board> {
        let process = None;
        let errors = Arc::default();
        let slowness = if self.machine == RASPI4B { RASPI4B_SLOWNESS } else { 1 };
        Box::new(Emulated { command: self.command(boot), slowness, process, errors, turn: None })
    }

    fn command(&self, boot: &Boot) -> Command {
        let mut qemu = qemu();
        qemu.args(["-M", &self.machine, "-cpu", &self.cpu]);
        qemu.args(["-m", &self.memory, "-smp", &self.cores.to_string()]);
        qemu.args(["-display", "none", "-nic", "none", "-monitor", "none"]);
        if self.machine == RASPI4B {
            // Cores that wait for their start by WFE would take the host's cores from the one that runs.
            qemu.args(["-accel", "tcg,thread=single"]);
            // The first serial port is the PL011; what the device tree names as the console is the mini-UART.
            qemu.args(["-serial", "null"]);
        }
        if let Some(shift) = self.counted {
            qemu.args(["-icount", &format!("shift={shift},sleep=off")]);
        }
        qemu.args(["-serial", "stdio", "-kernel"]).arg(&self.kernel);
        for (option, file) in [("-dtb", &self.dtb), ("-initrd", &boot.bundle)] {
            if let Some(file) = file {
                qemu.arg(option).arg(file);
            }
        }
        if !self.command_line.is_empty() {
            qemu.args(["-append", &self.command_line]);
        }
        if let Some(disk) = &boot.disk {
            self.attach(disk, &mut qemu);
        }
        if self.semihosting {
            qemu.args(["-semihosting-config", "enable=on,target=native"]);
        }
        qemu
    }

    /// What QEMU was told to write stays in the host's page cache when QEMU is killed, as a disk keeps what it has taken.
    fn attach(&self, disk: &Path, qemu: &mut Command) {
        let disk = disk.display();
        let drive = match self.fault {
            None => format!("if=none,id=disk,format=raw,file={disk}"),
            Some(DiskFault::Unreadable(sector)) => format!(
                "if=none,id=disk,driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename={disk},\
                 file.inject-error.0.event=read_aio,file.inject-error.0.sector={sector},file.inject-error.0.errno=5"
            ),
            // A byte a second is as good as none.
            Some(DiskFault::SilentAfter(bytes)) => format!(
                "if=none,id=disk,format=raw,file={disk},\
                 throttling.bps-total=1,throttling.bps-total-max={bytes}"
            ),
        };
        qemu.args(["-drive", &drive]);
        if self.machine == RASPI4B {
            // The controller that the board's card slot is wired to; QEMU's `if=sd` is the one of the radio.
            qemu.args(["-device", "sd-card,drive=disk,bus=/generic-sdhci/sd-bus"]);
        } else {
            let legacy = format!("virtio-mmio.force-legacy={}", self.legacy_disk);
            qemu.args(["-global", &legacy, "-device", "virtio-blk-device,drive=disk"]);
        }
    }
}

/// The turn to run QEMU: one within this process, and one among all that test this tree.
pub struct Turn {
    _process: MutexGuard<'static, ()>,
    _tree: File,
}

/// Waits for the turn to run QEMU.
pub fn take_turn() -> Turn {
    static TURN: Mutex<()> = Mutex::new(());
    let process = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = root().join("target/system");
    std::fs::create_dir_all(&directory).expect("target/system can be made");
    let path = directory.join("qemu.lock");
    let tree = File::options().create(true).append(true).open(&path);
    let tree = tree.unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display()));
    tree.lock().expect("a file of ours can be locked");
    Turn { _process: process, _tree: tree }
}

struct Emulated {
    command: Command,
    slowness: u32,
    process: Option<Child>,
    /// What QEMU itself said.
    errors: Arc<Mutex<String>>,
    turn: Option<Turn>,
}

impl Board for Emulated {
    fn switch_on(&mut self) -> (Box<dyn Read + Send>, Box<dyn Write + Send>) {
        self.turn = Some(take_turn());
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("QEMU starts");
        let console = child.stdout.take().expect("it is piped");
        let keyboard = child.stdin.take().expect("it is piped");
        let mut stderr = child.stderr.take().expect("it is piped");
        let errors = self.errors.clone();
        thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(count @ 1..) = stderr.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]);
                errors.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            }
        });
        self.process = Some(child);
        (Box::new(console), Box::new(keyboard))
    }

    fn switch_off(&mut self) {
        if let Some(mut child) = self.process.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.turn = None;
    }

    fn ended(&mut self) -> Option<i32> {
        let child = self.process.as_mut()?;
        for _ in 0..100 {
            if let Ok(Some(status)) = child.try_wait() {
                return status.code();
            }
            thread::sleep(Duration::from_millis(50));
        }
        None
    }

    fn describe(&self) -> String {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{}\n{errors}", words.join(" "))
    }

    fn slowness(&self) -> u32 {
        self.slowness
    }
}
