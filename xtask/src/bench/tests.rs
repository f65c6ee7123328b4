use std::process::Command;

use super::board::Board;
use super::debian::instructions;
use super::machine::Machine;
use super::nodes::speedup;
use super::rows::{Column, lines, parse};
use super::shared::growth;

fn printed(text: &str) -> Vec<String> {
    text.lines().map(str::to_string).collect()
}

fn column(board: Board, native: &str, tessera: &str) -> Column {
    Column { board, native: parse(&printed(native)), tessera: parse(&printed(tessera)) }
}

#[test]
fn numbers_are_found_wherever_in_a_line_they_stand() {
    let measured = parse(&printed(
        "bench: 2 CPUs\n....BENCH uart_byte 12\nBENCH gicd_read 150\nBENCH half\n\
         tessera| boot: reset_to_guest=77 zero=5 hash=6 el2_bytes=7 heap_used=8\nBENCH-DONE",
    ));
    assert_eq!(measured.len(), 7);
    assert_eq!((measured["uart_byte"], measured["gicd_read"]), (12, 150));
    assert_eq!(measured["boot:reset_to_guest"], 77);
    let restart = parse(&printed("tessera| restart: stop_to_guest=900 restart_zero=12"));
    assert_eq!(restart["boot:stop_to_guest"], 900);
}

#[test]
fn a_json_row_has_both_numbers_or_null_and_is_left_out_where_there_is_none() {
    let column = column(
        Board::VirtGicv2,
        "BENCH gicd_read 4\nBENCH blk_4k 270\nBENCH reset_to_guest 8",
        "BENCH gicd_read 150\nBENCH blk_4k 2700\nx| boot: reset_to_guest=900",
    );
    let rows = lines(&[column], 1000, true);
    let row = |name: &str, native: &str, tessera: &str, unit: &str| {
        let row = format!(
            r#"{{"machine":"virt-gicv2","name":"{name}","native":{native},"tessera":{tessera},"unit":"{unit}"}}"#
        );
        assert!(rows.contains(&row), "{row} in {rows:#?}");
    };
    row("gicd_read", "4", "150", "instructions");
    row("blk_4k_el2", "null", "2430", "instructions");
    row("reset_to_guest", "8", "900", "instructions");
    row("image_bytes", "null", "1000", "bytes");
    assert!(!rows.iter().any(|row| row.contains("gicr_read") || row.contains("el2_bytes")));
}

#[test]
fn machines_stand_beside_each_other_and_a_number_above_its_target_is_marked() {
    let numbers = "BENCH gicd_read 181\nBENCH sgi_self 300";
    let both = [Board::VirtGicv3, Board::VirtGicv2].map(|board| column(board, "", numbers));
    let table = lines(&both, 1, false);
    let row = |name: &str| table.iter().find(|line| line.starts_with(name)).unwrap();
    assert!(table[0].contains("virt-gicv3") && table[0].ends_with("virt-gicv2"));
    assert_eq!(row("gicd_read").matches("<= 180 !").count(), 2);
    assert!(row("sgi_self").contains("<= 260 !"));
    assert!(row("sgi_self").contains("<= 400  "));
    assert!(!table.iter().any(|line| line.starts_with("gicr_read")));
}

#[test]
fn a_number_that_should_be_great_is_marked_below_its_target() {
    let row = |speedup: u64| {
        let printed = format!("BENCH speedup_4_cores {speedup}\nBENCH speedup_2_cores 1");
        let table = lines(&[column(Board::VirtGicv3, "", &printed)], 1, false);
        table.into_iter().filter(|line| line.starts_with("speedup")).collect::<Vec<_>>()
    };
    let [two, four] = &row(379)[..] else { panic!("two rows") };
    assert!(!two.contains('!') && four.contains(" >= 380 !"), "{two}\n{four}");
    assert!(row(380)[1].contains(" >= 380  "));
}

#[test]
fn a_guest_that_finds_something_wrong_is_not_measured() {
    let run = |printed: &str| Machine::start(Command::new("echo").arg(printed))?.until("DONE");
    assert_eq!(run("BENCH a 1\nDONE").unwrap(), ["BENCH a 1", "DONE"]);
    let error = run("BENCH a 1\nb| not ok - it\nDONE").unwrap_err();
    assert!(error.to_string().ends_with("b| not ok - it"), "{error}");
    assert!(run("BENCH a 1").unwrap_err().to_string().contains("did not get to DONE"));
}

#[test]
fn of_exits_the_one_that_grew_most_is_told() {
    let [alone, among] = ["BENCH a 100\nBENCH b 200\nBENCH c 7", "BENCH a 101\nBENCH b 220"]
        .map(|text| parse(&printed(text)));
    assert_eq!(growth(&alone, &among), Some(110));
    assert_eq!(growth(&alone, &parse(&[])), None);
}

#[test]
fn a_speed_up_is_told_in_hundredths() {
    let [alone, together] =
        ["BENCH nodes 1000", "BENCH nodes 258"].map(|text| parse(&printed(text)));
    assert_eq!(speedup(&alone, &together), Some(387));
    assert_eq!(speedup(&alone, &parse(&[])), None);
}

#[test]
fn the_monitors_instruction_count_is_found() {
    let said =
        "(qemu) info replay\r\nRecording execution 'x': instruction count = 902584079\r\n(qemu) ";
    assert_eq!(instructions(said), Some(902_584_079));
    assert_eq!(instructions("No replay"), None);
}
