//! Firmware variables in a replay: what the field listed and found is put there before it is looked at.

use repave_core::edges::{Firmware, FirmwareError};
use repave_core::efi::{LoadOption, entry_number};
use repave_core::event::{Call, Event};
use repave_protocol::Guid;

use super::edges::Scripted;
use super::script::Fate;

/// What the core calls the boot entries that are its own.
const OWN: [&str; 2] = ["Repave default", "Repave target"];

impl Scripted<dyn Firmware> {
    fn asked(&self, call: &Call, name: &str, operation: &'static str) -> Result<(), FirmwareError> {
        let reason = match self.fate(call) {
            Fate::Happens => return Ok(()),
            Fate::Fails(reason) => reason,
            Fate::Cut => {
                self.cut();
                "power is gone".into()
            }
        };
        Err(FirmwareError { name: name.into(), operation, reason })
    }
}

impl Firmware for Scripted<dyn Firmware> {
    fn names(&mut self) -> Result<Vec<String>, FirmwareError> {
        self.asked(&Call::List, "*", "list")?;
        if let Some(Event::Names(names)) = self.script.peek().as_deref() {
            let names: Vec<&str> = names.split_whitespace().collect();
            let is_listed = |name: &String| names.contains(&name.as_str());
            let machine = &mut *self.machine.borrow_mut();
            let variables = &mut machine.nvram.variables;
            variables.retain(|name, _| entry_number(name).is_none() || is_listed(name));
            for name in &names {
                // Its value is told when it is read.
                variables.entry((*name).into()).or_default();
            }
            machine.watch.foreign.retain(|name, _| is_listed(name));
            machine.watch.forget_order();
        }
        self.edge.names()
    }

    fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, FirmwareError> {
        self.asked(&Call::Get { name: name.into() }, name, "read")?;
        if let Some(Event::Found(found, value)) = self.script.peek().as_deref()
            && found == name
        {
            let machine = &mut *self.machine.borrow_mut();
            if machine.nvram.variables.get(name) != value.as_ref() {
                machine.watch.forget_order();
            }
            match value {
                Some(value) => machine.nvram.variables.insert(name.into(), value.clone()),
                None => machine.nvram.variables.remove(name),
            };
            let is_foreign = |value: &&Vec<u8>| {
                let description = LoadOption::description_of(value);
                !description.is_ok_and(|words| OWN.contains(&words.as_str()))
            };
            machine.watch.foreign.remove(name);
            if let Some(value) = value.as_ref().filter(is_foreign)
                && entry_number(name).is_some()
            {
                machine.watch.foreign.insert(name.into(), value.clone());
            }
        }
        self.edge.read(name)
    }

    fn write(&mut self, name: &str, value: &[u8]) -> Result<(), FirmwareError> {
        self.asked(&Call::Set { name: name.into(), value: value.into() }, name, "write")?;
        self.edge.write(name, value)
    }

    fn delete(&mut self, name: &str) -> Result<(), FirmwareError> {
        self.asked(&Call::Delete { name: name.into() }, name, "delete")?;
        self.edge.delete(name)
    }

    fn loader_partition(&mut self) -> Option<Guid> {
        match self.script.peek().as_deref() {
            Some(Event::Loader(partition)) => *partition,
            _ => self.edge.loader_partition(),
        }
    }
}
