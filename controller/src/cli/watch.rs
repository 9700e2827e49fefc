//! `--watch`: a table that is drawn anew once a second until the operator ends it. A controller
//! that is away for a while is waited for, since who watches wants to see it come back.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use super::client::ClientError;
use super::failure::EXIT_INTERRUPTED;
use super::table::{cut, shown, terminal};
use super::{Failure, print};

const INTERVAL: Duration = Duration::from_secs(1);

/// Draws what `next` says, again and again.
pub(super) fn watch(mut next: impl FnMut() -> Result<String, ClientError>) -> Result<(), Failure> {
    end_on_interrupt()?;
    let mut last = next()?;
    loop {
        draw(&last, None)?;
        thread::sleep(INTERVAL);
        match next() {
            Ok(text) => last = text,
            Err(error) if error.may_pass() => {
                draw(&last, Some(&error.to_string()))?;
                thread::sleep(INTERVAL);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// On a terminal in the place of what was there before, else one after the other.
fn draw(text: &str, trouble: Option<&str>) -> Result<(), Failure> {
    let Some((columns, rows)) = terminal() else {
        return match trouble {
            Some(trouble) => print(&format!("{}\n", shown(trouble))),
            None => print(&format!("{text}\n")),
        };
    };
    let mut lines: Vec<String> =
        text.lines().take(rows.saturating_sub(2)).map(|line| cut(line, Some(columns))).collect();
    lines.extend(trouble.map(|trouble| cut(&shown(trouble), Some(columns))));
    // From the top left corner; each line's rest and the screen's rest are cleared.
    let mut screen = String::from("\x1b[H");
    lines.iter().for_each(|line| screen.push_str(&format!("{line}\x1b[K\r\n")));
    screen.push_str("\x1b[J");
    let mut out = io::stdout().lock();
    out.write_all(screen.as_bytes())?;
    Ok(out.flush()?)
}

/// Ends the process with the exit code of an interrupted command at the first Ctrl-C.
pub(super) fn end_on_interrupt() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let armed = {
        let _inside = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
    };
    let mut interrupts = armed?;
    thread::spawn(move || {
        runtime.block_on(interrupts.recv());
        std::process::exit(EXIT_INTERRUPTED.into());
    });
    Ok(())
}
