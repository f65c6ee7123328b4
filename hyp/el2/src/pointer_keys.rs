//! Keys of pointer authentication: a guest's are not the next one's.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::sysreg::{mrs, msr};

/// Whether the board's cores have any.
static EXIST: AtomicBool = AtomicBool::new(false);

/// APIAKey, APIBKey, APDAKey, APDBKey and APGAKey, two registers each. By encoding, as assemblers want the extension.
#[derive(Default)]
pub struct PointerKeys([u64; 10]);

macro_rules! each_key {
    ($each:ident, $keys:expr) => {{
        let [a, b, c, d, e, f, g, h, i, j] = $keys;
        $each!(a, "s3_0_c2_c1_0");
        $each!(b, "s3_0_c2_c1_1");
        $each!(c, "s3_0_c2_c1_2");
        $each!(d, "s3_0_c2_c1_3");
        $each!(e, "s3_0_c2_c2_0");
        $each!(f, "s3_0_c2_c2_1");
        $each!(g, "s3_0_c2_c2_2");
        $each!(h, "s3_0_c2_c2_3");
        $each!(i, "s3_0_c2_c3_0");
        $each!(j, "s3_0_c2_c3_1");
    }};
}

/// Finds out whether there is pointer authentication on this core (ID_AA64ISAR1_EL1.APA, API, GPA, GPI,
/// ID_AA64ISAR2_EL1.APA3). Called as the core is set up, before it runs a vCPU.
pub fn look() {
    let (isar1, isar2) = (mrs!("id_aa64isar1_el1"), mrs!("s3_0_c0_c6_2"));
    if isar1 & 0xff00_0ff0 != 0 || isar2 & 0xff00 != 0 {
        EXIST.store(true, Relaxed);
    }
}

/// Whether there is.
pub fn exist() -> bool {
    EXIST.load(Relaxed)
}

impl PointerKeys {
    /// Takes them from this core, which has some.
    pub fn save(&mut self) {
        macro_rules! save {
            ($key:ident, $register:literal) => {
                *$key = mrs!($register)
            };
        }
        each_key!(save, &mut self.0);
    }

    /// Gives them to this core, which has some.
    pub fn restore(&self) {
        macro_rules! restore {
            ($key:ident, $register:literal) => {
                msr!($register, *$key)
            };
        }
        each_key!(restore, &self.0);
    }
}
