//! The host's side of the monitor's protocol (docs/monitor.md): requests, and answers out of a console's stream.
//!
//! A frame is what stands between RS and LF. All else on the line is what guests print, and is handed back untouched, so
//! that a console can be read and asked at once.

pub mod port;

pub use serde_json::Value;

/// Begins a frame (RFC 7464).
const RS: u8 = 0x1e;
/// Longest frame that is believed to be one.
const MAX_FRAME: usize = 64 << 10;

/// A request: `verb` with what belongs to it, as a person would type it.
pub fn request(id: u32, verb: &str) -> Vec<u8> {
    format!("\u{1e}{id} {verb}\n").into_bytes()
}

/// What a frame says.
#[derive(Clone, PartialEq, Debug)]
pub enum Frame {
    /// A part of the answer to the request of this id: the whole object.
    Record(u64, Value),
    /// The end of the answer, or why there is none. No id where the request could not be read.
    End(Option<u64>, Result<(), String>),
    /// Something happened: the whole object.
    Event(Value),
}

impl Frame {
    /// What `value` says, or `None` where it is no frame of this protocol.
    fn of(value: Value) -> Option<Self> {
        if value.get("event").is_some() {
            return Some(Self::Event(value));
        }
        let id = value.get("id")?.as_u64();
        match value.get("ok").and_then(Value::as_bool) {
            Some(true) => Some(Self::End(id, Ok(()))),
            Some(false) => {
                let error = value.get("error").and_then(Value::as_str).unwrap_or("no reason given");
                Some(Self::End(id, Err(error.to_string())))
            }
            None => Some(Self::Record(id?, value)),
        }
    }
}

/// Takes frames out of a stream.
#[derive(Debug, Default)]
pub struct Frames {
    /// What came of a frame that has not ended.
    begun: Option<Vec<u8>>,
}

impl Frames {
    /// Takes what came: frames, in their order. What belongs to none goes to `rest`, and so does what turns out to be
    /// none.
    pub fn feed(&mut self, bytes: &[u8], mut rest: impl FnMut(u8)) -> Vec<Frame> {
        let mut frames = Vec::new();
        for &byte in bytes {
            match (&mut self.begun, byte) {
                (None, RS) => self.begun = Some(Vec::new()),
                (None, _) => rest(byte),
                (Some(begun), RS) => begun.clear(),
                (Some(begun), b'\n') => {
                    let frame = serde_json::from_slice(begun).ok().and_then(Frame::of);
                    match frame {
                        Some(frame) => frames.push(frame),
                        None => begun.iter().chain(b"\n").for_each(|&byte| rest(byte)),
                    }
                    self.begun = None;
                }
                (Some(begun), _) => {
                    begun.push(byte);
                    if begun.len() > MAX_FRAME {
                        begun.iter().for_each(|&byte| rest(byte));
                        self.begun = None;
                    }
                }
            }
        }
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(text: &[u8]) -> (Vec<Frame>, String) {
        let mut frames = Frames::default();
        let mut rest = Vec::new();
        let found = text.chunks(1).flat_map(|byte| frames.feed(byte, |byte| rest.push(byte)));
        let found = found.collect();
        (found, String::from_utf8_lossy(&rest).into_owned())
    }

    #[test]
    fn frames_are_taken_out_of_what_guests_print() {
        let text = b"web# l\x1e{\"id\":7,\"record\":\"vm\",\"name\":\"web\"}\n\x1e{\"id\":7,\"ok\":true}\ns\r\n";
        let (frames, rest) = feed(text);
        assert_eq!(rest, "web# ls\r\n");
        let record = serde_json::json!({ "id": 7, "record": "vm", "name": "web" });
        assert_eq!(frames, [Frame::Record(7, record), Frame::End(Some(7), Ok(()))]);
    }

    #[test]
    fn errors_events_and_unread_requests_are_told_apart() {
        let (frames, _) = feed(
            b"\x1e{\"id\":8,\"ok\":false,\"error\":\"no\"}\n\x1e{\"id\":null,\"ok\":false,\"error\":\"lost\"}\n\
              \x1e{\"event\":\"state\",\"name\":\"web\"}\n",
        );
        assert_eq!(frames[0], Frame::End(Some(8), Err("no".into())));
        assert_eq!(frames[1], Frame::End(None, Err("lost".into())));
        assert!(matches!(&frames[2], Frame::Event(event) if event["name"] == "web"));
    }

    #[test]
    fn what_only_looks_like_a_frame_is_output() {
        assert_eq!(feed(b"a\x1ehello\nb"), (vec![], "ahello\nb".into()));
        assert_eq!(feed(b"\x1e[1,2]\nb"), (vec![], "[1,2]\nb".into()));
        assert_eq!(feed(b"\x1e{\"id\":1,\x1e{\"id\":1,\"ok\":true}\n").0.len(), 1, "begun anew");
    }

    #[test]
    fn a_request_is_one_line() {
        assert_eq!(request(7, "vm list"), b"\x1e7 vm list\n");
    }
}
