//! (being written)
#![no_std]
#![no_main]

tessera_rt::guest!(main);

fn main(machine: &'static tessera_rt::Machine) {
    tessera_rt::report::begin("rogue", machine);
}
