//! A real load on a web server: people who reload its page as fast as it comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How many reload at once.
const PEOPLE: usize = 6;
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Pause after a page that did not come.
const PAUSE: Duration = Duration::from_millis(200);

/// A load; dropped, it ends.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    pages: Arc<AtomicU64>,
    people: Vec<JoinHandle<()>>,
}

impl Load {
    /// On the web server behind a port of the loopback.
    pub(crate) fn on(port: u16) -> Self {
        let (stop, pages) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let person = |_| {
            let (stop, pages) = (Arc::clone(&stop), Arc::clone(&pages));
            thread::spawn(move || reload(port, &stop, &pages))
        };
        let people = (0..PEOPLE).map(person).collect();
        Self { stop, pages, people }
    }

    /// Ends it; gives the number of pages that came.
    pub(crate) fn end(mut self) -> u64 {
        self.join();
        self.pages.load(Ordering::Relaxed)
    }

    fn join(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for person in self.people.drain(..) {
            // A person that panicked has ended, too.
            let _ = person.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.join();
    }
}

fn reload(port: u16, stop: &AtomicBool, pages: &AtomicU64) {
    let url = format!("http://127.0.0.1:{port}/");
    let config = ureq::Agent::config_builder().timeout_global(Some(ANSWER_LIMIT));
    let agent = config.build().new_agent();
    while !stop.load(Ordering::Relaxed) {
        let page = agent.get(&url).call().and_then(|mut page| page.body_mut().read_to_vec());
        match page {
            Ok(_) => drop(pages.fetch_add(1, Ordering::Relaxed)),
            Err(_) => thread::sleep(PAUSE),
        }
    }
}
