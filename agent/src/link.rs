//! The way to the controllers and to the image library. What needs an answer is asked on the
//! caller's thread; what is only told waits in a bounded queue for a thread of its own, so that a
//! slow controller never slows a transfer. What a status or an answer says is the core's.

mod queue;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use repave_core::edges::{BadCa, Link, LinkError};
use repave_protocol::{ServerId, Sha256, limits};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::http::Http;
use queue::Queue;

/// Longest wait for the answer to a question: a controller's long poll and the way there.
const ASK_LIMIT: Duration = Duration::from_secs(90);
/// Longest wait for a controller to take what it is told.
const TELL_LIMIT: Duration = Duration::from_secs(10);
/// How often a status is offered to the controllers before it is given up; the next question says
/// where the server stands anyway.
const TELL_ATTEMPTS: u32 = 5;
/// Pause after the first failure; it doubles, and up to as much again is added by chance.
const TELL_PAUSE: Duration = Duration::from_millis(500);
/// Longest wait for the queue to drain.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// The link of one server.
pub struct ControlLink {
    controllers: Arc<Controllers>,
    queue: Arc<Queue>,
}

impl ControlLink {
    /// A link of `server` to the controllers at these base URLs, the first one preferred until it
    /// fails. Starts the thread that tells.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn new(
        http: Arc<dyn Http>,
        controllers: &[String],
        server: ServerId,
    ) -> std::io::Result<Self> {
        let status_url =
            |base: &String| format!("{}/v1/servers/{server}/status", base.trim_end_matches('/'));
        let controllers = Arc::new(Controllers {
            http,
            urls: controllers.iter().map(status_url).collect(),
            preferred: AtomicUsize::new(0),
        });
        let queue = Arc::new(Queue::default());
        let (teller, told) = (Arc::clone(&controllers), Arc::clone(&queue));
        thread::Builder::new().name("teller".into()).spawn(move || tell_all(&teller, &told))?;
        Ok(Self { controllers, queue })
    }
}

impl Link for ControlLink {
    fn trust_ca(&mut self, ca_pem: &str) -> Result<(), BadCa> {
        self.controllers.http.trust_ca(ca_pem)
    }

    fn ask(&mut self, status: &[u8]) -> Result<Vec<u8>, LinkError> {
        // What was told came before; what still cannot leave is made stale by the question.
        self.settle();
        self.queue.clear();
        self.controllers.post(status, ASK_LIMIT)
    }

    fn tell(&mut self, status: Vec<u8>) {
        self.queue.push(status);
    }

    fn settle(&mut self) {
        self.queue.settle(SETTLE_LIMIT);
    }

    fn blob(
        &mut self,
        source: &str,
        blob: &Sha256,
        limit_bytes: usize,
    ) -> Result<Vec<u8>, LinkError> {
        self.controllers.http.blob(source, blob, limit_bytes)
    }

    fn blob_range(
        &mut self,
        source: &str,
        blob: &Sha256,
        offset_bytes: u64,
        length_bytes: usize,
    ) -> Result<Vec<u8>, LinkError> {
        self.controllers.http.blob_range(source, blob, offset_bytes, length_bytes)
    }
}

impl Drop for ControlLink {
    /// The thread ends after the post that it may be in; nobody waits for that.
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// The controllers' status URLs, and which of them answered last.
struct Controllers {
    http: Arc<dyn Http>,
    urls: Vec<String>,
    preferred: AtomicUsize,
}

impl Controllers {
    /// Tries each controller once, the one that answered last first.
    fn post(&self, status: &[u8], limit: Duration) -> Result<Vec<u8>, LinkError> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let mut last_error = LinkError::trouble("controller", "none is configured".into());
        for number in (0..self.urls.len()).map(|step| (preferred + step) % self.urls.len()) {
            let url = &self.urls[number];
            match self.http.post(url, status, limits::ENVELOPE_BYTES, limit) {
                Ok(answer) => {
                    self.preferred.store(number, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => {
                    log::debug!("{error}");
                    last_error = error;
                }
            }
        }
        Err(last_error)
    }
}

/// Tells the controllers everything in its order until the link is closed.
fn tell_all(controllers: &Controllers, queue: &Queue) {
    while let Some(told) = queue.oldest() {
        for attempt in 0..TELL_ATTEMPTS {
            let post = || controllers.post(&told.bytes, TELL_LIMIT);
            match catch_unwind(AssertUnwindSafe(post)) {
                Ok(Ok(_)) => break,
                Ok(Err(error)) => {
                    log::info!("{error}; told {} of {TELL_ATTEMPTS} times", attempt + 1);
                }
                Err(_) => log::error!("telling the controller panicked"),
            }
            let pause = TELL_PAUSE * (1 << attempt);
            if !queue.pause(&told, pause + jitter(pause)) {
                break;
            }
        }
        queue.done_with(&told);
    }
}

/// Anything from nothing to `most`, so that a rack does not come back in step.
fn jitter(most: Duration) -> Duration {
    let mut chance = [0; 1];
    // Without a random byte there is no jitter, and nothing worse.
    let _ = getrandom(&mut chance, GetRandomFlags::NONBLOCK);
    most * u32::from(chance[0]) / u32::from(u8::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use repave_core::edges::{BadCa, Link, LinkError};
    use repave_protocol::{ServerId, Sha256, SigningKey};

    use super::ControlLink;
    use crate::http::Http;

    const LONG: Duration = Duration::from_secs(3600);

    /// A network that reports each post, and whose answers the test sends one by one.
    struct Scripted {
        posts: Mutex<Sender<(String, Vec<u8>)>>,
        answers: Mutex<Receiver<Result<Vec<u8>, &'static str>>>,
    }

    impl Http for Scripted {
        fn post(
            &self,
            url: &str,
            body: &[u8],
            _: usize,
            _: Duration,
        ) -> Result<Vec<u8>, LinkError> {
            self.posts.lock().unwrap().send((url.into(), body.into())).unwrap();
            let answer = self.answers.lock().unwrap().recv().unwrap();
            assert_ne!(answer, Err("panic"));
            answer.map_err(|reason| LinkError::trouble(url, reason.into()))
        }

        fn get(&self, url: &str, limit_bytes: usize) -> Result<Vec<u8>, LinkError> {
            Ok(format!("{url} {limit_bytes}").into_bytes())
        }

        fn get_range(
            &self,
            url: &str,
            offset_bytes: u64,
            into: &mut [u8],
        ) -> Result<(), LinkError> {
            assert!(url.ends_with(&"00".repeat(32)));
            into.fill(offset_bytes as u8);
            Ok(())
        }

        fn trust_ca(&self, _: &str) -> Result<(), BadCa> {
            unreachable!("certificates are the client's affair")
        }
    }

    struct World {
        link: ControlLink,
        posts: Receiver<(String, Vec<u8>)>,
        answers: Sender<Result<Vec<u8>, &'static str>>,
    }

    impl World {
        fn new(controllers: &[&str]) -> Self {
            let (posts_in, posts) = mpsc::channel();
            let (answers, answers_out) = mpsc::channel();
            let http = Scripted { posts: Mutex::new(posts_in), answers: Mutex::new(answers_out) };
            let controllers: Vec<String> = controllers.iter().map(|url| (*url).into()).collect();
            let link = ControlLink::new(Arc::new(http), &controllers, server()).unwrap();
            Self { link, posts, answers }
        }

        /// The next post must be this one.
        fn check_post(&self, controller: &str, body: &[u8]) {
            let (url, found) = self.posts.recv().unwrap();
            assert_eq!(url, format!("{controller}/v1/servers/{}/status", server()));
            assert_eq!(found, body);
        }

        fn answer(&self, answer: Result<&str, &'static str>) {
            self.answers.send(answer.map(|text| text.into())).unwrap();
        }
    }

    fn server() -> ServerId {
        ServerId::of(&SigningKey::from_seed(&[7; 32]).public())
    }

    #[test]
    fn what_was_told_arrives_before_what_is_asked() {
        let mut world = World::new(&["https://one/"]);
        world.link.tell(b"told 1".to_vec());
        world.link.tell(b"told 2".to_vec());
        for answer in ["", "", "directive"] {
            world.answer(Ok(answer));
        }
        assert_eq!(world.link.ask(b"asked"), Ok(b"directive".to_vec()));
        for body in [b"told 1".as_slice(), b"told 2", b"asked"] {
            world.check_post("https://one", body);
        }
    }

    #[test]
    fn controllers_are_tried_in_turn_and_the_one_that_answers_is_kept() {
        let mut world = World::new(&["https://one", "https://two"]);
        for answer in [Err("down"), Ok("a"), Ok("b"), Err("down"), Err("down too")] {
            world.answer(answer);
        }
        assert_eq!(world.link.ask(b"1"), Ok(b"a".to_vec()));
        assert_eq!(world.link.ask(b"2"), Ok(b"b".to_vec()));
        let error = world.link.ask(b"3").unwrap_err();
        assert!(error.peer.starts_with("https://one/v1/servers/"), "{error}");
        assert_eq!(error.reason, "down too");
        for (controller, body) in
            [("one", "1"), ("two", "1"), ("two", "2"), ("two", "3"), ("one", "3")]
        {
            world.check_post(&format!("https://{controller}"), body.as_bytes());
        }
    }

    #[test]
    fn a_link_to_nobody_says_so() {
        let error = World::new(&[]).link.ask(b"1").unwrap_err();
        assert_eq!(error.to_string(), "controller: none is configured");
    }

    #[test]
    fn what_is_told_is_tried_again_after_a_failure_or_a_panic() {
        let mut world = World::new(&["https://one"]);
        world.link.tell(b"told".to_vec());
        for answer in [Err("down"), Err("panic"), Ok("")] {
            world.check_post("https://one", b"told");
            world.answer(answer);
        }
        world.link.queue.settle(LONG);
    }

    #[test]
    fn blobs_are_asked_for_by_their_digest() {
        let mut link = World::new(&[]).link;
        let blob = Sha256::from_bytes([0; 32]);
        let url = format!("http://mirror/blobs/sha256/{blob} 77");
        assert_eq!(link.blob("http://mirror/", &blob, 77), Ok(url.into_bytes()));
        assert_eq!(link.blob_range("http://mirror", &blob, 9, 3), Ok(vec![9; 3]));
    }
}
