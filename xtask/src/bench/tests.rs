use super::debian::instructions;
use super::rows::{lines, parse};

fn printed(text: &str) -> Vec<String> {
    text.lines().map(str::to_string).collect()
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
}

#[test]
fn a_json_row_has_both_numbers_or_null() {
    let native = parse(&printed("BENCH gicd_read 4\nBENCH blk_4k 270\nBENCH reset_to_guest 8"));
    let tessera = parse(&printed(
        "BENCH gicd_read 150\nBENCH blk_4k 2700\nBENCH reset_to_guest 3\nx| boot: reset_to_guest=900",
    ));
    let rows = lines("m", &native, &tessera, 1000, true);
    let has = |row: &str| assert!(rows.iter().any(|line| line == row), "{row} in {rows:#?}");
    has(r#"{"machine":"m","name":"gicd_read","native":4,"tessera":150,"unit":"instructions"}"#);
    has(
        r#"{"machine":"m","name":"blk_4k_el2","native":null,"tessera":2430,"unit":"instructions"}"#,
    );
    has(
        r#"{"machine":"m","name":"reset_to_guest","native":8,"tessera":900,"unit":"instructions"}"#,
    );
    has(r#"{"machine":"m","name":"image_bytes","native":null,"tessera":1000,"unit":"bytes"}"#);
    has(r#"{"machine":"m","name":"el2_bytes","native":null,"tessera":null,"unit":"bytes"}"#);
}

#[test]
fn a_number_above_its_target_is_marked_in_the_table() {
    let tessera = parse(&printed("BENCH gicd_read 181\nBENCH gicr_read 200"));
    let table = lines("m", &parse(&[]), &tessera, 1, false);
    let row = |name: &str| table.iter().find(|line| line.starts_with(name)).unwrap();
    assert!(row("gicd_read").contains("<= 180 !"));
    assert!(!row("gicr_read").contains('!'));
}

#[test]
fn the_monitors_instruction_count_is_found() {
    let said =
        "(qemu) info replay\r\nRecording execution 'x': instruction count = 902584079\r\n(qemu) ";
    assert_eq!(instructions(said), Some(902_584_079));
    assert_eq!(instructions("No replay"), None);
}
