//! Every target, fed with its seeds, with what becomes of them by a few changes, and with noise. A failure prints the
//! input's number.

use alloc::format;
use alloc::string::String;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

/// Runs `count` inputs. What was good of them must be at least `least`.
#[track_caller]
fn fed(name: &str, count: u64, least: usize) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let seeds = (target.seeds)();
    let mut good = 0;
    for number in 0..count {
        let input = input(number, &seeds);
        let run = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
        good += run.unwrap_or_else(|_| panic!("input {number} of {name}: {}", hex(&input)));
    }
    assert!(good >= least, "{name}: {good} is less than {least}, so the inputs test little");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn any_syndrome_is_decoded_and_answered() {
    fed("exits", 1500, 1500);
}

#[test]
fn no_sequence_of_accesses_breaks_a_list_register() {
    fed("vgic_any", 800, 5000);
}

#[test]
fn random_programs_do_what_a_plain_gicv3_does() {
    fed("vgic_v3", 120, 600);
}

#[test]
fn random_programs_do_what_a_plain_gicv2_does() {
    fed("vgic_v2", 120, 600);
}

#[test]
fn no_sequence_of_accesses_breaks_the_line_or_the_fifo_of_the_uart() {
    fed("vuart", 2000, 700);
}

#[test]
fn no_bytes_in_rings_or_registers_reach_another_sector_or_other_memory() {
    fed("virtio_blk", 150, 300);
}

#[test]
fn any_chain_is_what_a_plain_reader_makes_of_it() {
    fed("virtio_queue", 3000, 800);
}

#[test]
fn any_tree_is_refused_or_read_in_a_bounded_time() {
    fed("fdt", 3000, 500);
}

#[test]
fn no_damaged_tree_of_a_board_makes_discovery_panic() {
    fed("board", 3000, 500);
}

#[test]
fn no_spoiled_bundle_passes_for_whole() {
    fed("bundle", 2000, 300);
}

#[test]
fn no_spoiled_configuration_panics_and_what_is_kept_is_bounded() {
    fed("config", 4000, 500);
}

#[test]
fn no_keys_at_the_prompt_drive_the_terminal_or_lose_the_row() {
    fed("monitor_line", 2000, 10);
}

#[test]
fn each_request_gets_whole_lines_and_one_end() {
    fed("monitor_protocol", 2000, 500);
}

#[test]
fn no_driver_makes_the_power_button_write_elsewhere() {
    fed("power_button", 2000, 500);
}

#[test]
fn no_driver_and_no_request_makes_the_control_port_write_elsewhere() {
    fed("control_port", 300, 300);
}

#[test]
fn no_kernel_unpacks_to_more_than_is_allowed() {
    fed("kernel", 3000, 500);
}

#[test]
fn no_table_makes_a_partition_leave_the_disk_or_meet_another() {
    fed("partitions", 1000, 400);
}

#[test]
fn no_accesses_or_times_make_a_watchdog_ask_for_the_past_or_take_a_hang_back() {
    fed("watchdog", 2000, 500);
}

#[test]
fn no_accesses_or_edges_make_the_line_of_the_gpio_say_what_its_status_does_not() {
    fed("gpio", 2000, 500);
}
