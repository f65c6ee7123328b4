//! Talking to the monitor by its protocol, on the console that guests use meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use tessera_control::{Frame, Value, request};

use crate::target::Target;

impl Target {
    /// Asks the monitor by its protocol: the records of the answer, or why there is none. What is asked is as a person would
    /// type it.
    #[track_caller]
    pub fn try_ask(&mut self, verb: &str) -> Result<Vec<Value>, String> {
        self.commands += 1;
        let id = self.commands;
        self.send(std::str::from_utf8(&request(id, verb)).expect("a request is text"));
        self.wait_seen(&format!("the monitor's answer to `{verb}`"), |seen| {
            let ended = |frame: &Frame| match frame {
                Frame::End(Some(whose), result) if *whose == u64::from(id) => Some(result.clone()),
                _ => None,
            };
            let result = seen.answers.iter().find_map(ended)?;
            let records = seen.answers.iter().filter_map(|frame| match frame {
                Frame::Record(whose, record) if *whose == u64::from(id) => Some(record.clone()),
                _ => None,
            });
            Some(result.map(|()| records.collect()))
        })
    }

    /// As [`Target::try_ask`], for what is granted.
    #[track_caller]
    pub fn ask(&mut self, verb: &str) -> Vec<Value> {
        match self.try_ask(verb) {
            Ok(records) => records,
            Err(error) => self.fail(&format!("the monitor refuses `{verb}`: {error}")),
        }
    }

    /// What `vm list` says of a guest.
    #[track_caller]
    pub fn vm(&mut self, name: &str) -> Value {
        let list = self.ask("vm list");
        match list.into_iter().find(|vm| vm["name"] == name) {
            Some(vm) => vm,
            None => self.fail(&format!("`vm list` has no {name}")),
        }
    }

    /// Asks until a guest is in `state`.
    #[track_caller]
    pub fn wait_state(&mut self, name: &str, state: &str) {
        self.wait_vm(name, &format!("{name} is {state}"), |vm| vm["state"] == state);
    }

    /// Asks until what `vm list` says of a guest is as wanted, and returns it.
    #[track_caller]
    pub fn wait_vm(&mut self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + self.patience;
        loop {
            let vm = self.vm(name);
            if wanted(&vm) {
                return vm;
            }
            if Instant::now() > deadline {
                self.fail(&format!("not so: {what}; it is {vm}"));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the monitor has told of a change of a guest's state that is as wanted.
    #[track_caller]
    pub fn wait_event(&mut self, name: &str, state: &str) {
        self.wait_seen(&format!("the event that {name} is {state}"), |seen| {
            let is = |frame: &Frame| matches!(frame, Frame::Event(event) if event["name"] == name && event["state"] == state);
            seen.answers.iter().any(is).then_some(())
        });
    }
}
