//! Everything at once for a long time, and every byte that comes back is compared.
//!
//! Each worker has objects of its own and sends one request after the other about them, so that it knows the
//! possible versions of each: one, or, after a request that failed, several. Some requests are cut.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::arguments::Arguments;
use crate::documents::{completion, upload_id};
use crate::http::{AnswerHead, Wire};
use crate::sign::{Signer, UNSIGNED, sha256_hex};
use crate::tls::Dialer;

/// The objects of a worker.
const KEYS: usize = 6;
/// Around a chunk's edges, and some that stream.
const SIZES: [usize; 9] = [0, 1, 4_096, 65_535, 65_536, 65_537, 300_000, 1 << 20, 5_000_000];
/// The parts of an upload: regular but for its end, or of several lengths.
const UPLOADS: [&[usize]; 3] =
    [&[5 << 20, 5 << 20, 70_000], &[5 << 20], &[(5 << 20) + 1, (5 << 20) + 70_000, 1_000]];
/// No answer takes so long, however often the store falls ill.
const PATIENCE: Duration = Duration::from_secs(60);

/// One content of an object.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Version {
    seed: u64,
    size: usize,
}

/// What came of it all.
#[derive(Default)]
struct Tally {
    done: u64,
    verified: u64,
    failed: u64,
    abandoned: u64,
    wrong: u64,
    first_wrong: String,
}

/// What a request came to, besides a broken connection.
enum Answer {
    Done(AnswerHead, Vec<u8>),
    Refused(u16, String),
}

/// Runs for `--seconds` on `--connections`, and prints what came of it as a line of JSON.
pub async fn soak(arguments: &Arguments) -> io::Result<()> {
    let seconds: u64 = arguments.or("seconds", 600)?;
    let until = Instant::now() + Duration::from_secs(seconds);
    let place = Rc::new(Place {
        dialer: Dialer::from_arguments(arguments)?,
        bucket: arguments.text("bucket")?.to_owned(),
        access_key: arguments.text("access-key")?.to_owned(),
        secret_key: arguments.text("secret-key")?.to_owned(),
    });
    let mut workers = tokio::task::JoinSet::new();
    for number in 0..arguments.or("connections", 32u64)? {
        let worker = Worker::new(Rc::clone(&place), number);
        workers.spawn_local(worker.work(until));
    }
    let mut all = Tally::default();
    while let Some(tally) = workers.join_next().await {
        let Tally { done, verified, failed, abandoned, wrong, first_wrong } =
            tally.map_err(io::Error::other)?;
        all.done += done;
        all.verified += verified;
        all.failed += failed;
        all.abandoned += abandoned;
        all.wrong += wrong;
        if all.first_wrong.is_empty() {
            all.first_wrong = first_wrong;
        }
    }
    println!(
        "{{\"seconds\":{seconds},\"done\":{},\"verified\":{},\"failed\":{},\"abandoned\":{},\"wrong\":{},\"first_wrong\":{:?}}}",
        all.done, all.verified, all.failed, all.abandoned, all.wrong, all.first_wrong
    );
    Ok(())
}

struct Place {
    dialer: Dialer,
    bucket: String,
    access_key: String,
    secret_key: String,
}

struct Worker {
    place: Rc<Place>,
    number: u64,
    dice: u64,
    /// What each object may be; `None`: not there.
    may_be: [Vec<Option<Version>>; KEYS],
    wire: Option<(Wire, Signer)>,
    tally: Tally,
}

impl Worker {
    fn new(place: Rc<Place>, number: u64) -> Self {
        let may_be = std::array::from_fn(|_| vec![None]);
        let dice = number.wrapping_mul(0x1234_5678_9abc_def1) + 1;
        Self { place, number, dice, may_be, wire: None, tally: Tally::default() }
    }

    async fn work(mut self, until: Instant) -> Tally {
        while Instant::now() < until {
            let key = self.below(KEYS);
            let turn = match self.below(20) {
                0..4 => self.put(key).await,
                4..6 => self.upload(key).await,
                6..12 => self.get(key).await,
                12..15 => self.get_range(key).await,
                15 => self.delete(key).await,
                16 => self.list().await,
                17..19 => self.give_up_reading(key).await,
                _ => self.give_up_writing(key).await,
            };
            self.tally.done += 1;
            if turn.is_err() {
                self.tally.failed += 1;
                self.wire = None;
            }
        }
        for key in 0..KEYS {
            // A store that is well again would answer at once; this one may need a few attempts.
            for _ in 0..20 {
                if self.get(key).await.is_ok() {
                    break;
                }
                self.wire = None;
            }
        }
        self.tally
    }

    async fn put(&mut self, key: usize) -> io::Result<()> {
        let version = Version { seed: self.roll(), size: SIZES[self.below(SIZES.len())] };
        let content = content(version);
        let length = format!("Content-Length: {}\r\n", content.len());
        self.may_be[key].push(Some(version));
        let answer = self.ask("PUT", &self.path(key), "", UNSIGNED, &length, &content).await?;
        self.settle(key, answer, Some(version))
    }

    async fn upload(&mut self, key: usize) -> io::Result<()> {
        let parts = UPLOADS[self.below(UPLOADS.len())];
        let version = Version { seed: self.roll(), size: parts.iter().sum() };
        let content = content(version);
        let path = self.path(key);
        let created = self.ask("POST", &path, "uploads=", UNSIGNED, "Content-Length: 0\r\n", b"").await?;
        let Answer::Done(_, document) = created else { return self.refused(created) };
        let id = upload_id(&document)?;
        let (mut listed, mut rest) = (Vec::new(), &content[..]);
        for (number, length) in (1..).zip(parts) {
            let (part, after) = rest.split_at(*length);
            rest = after;
            let query = format!("partNumber={number}&uploadId={id}");
            let length = format!("Content-Length: {length}\r\n");
            let answer = self.ask("PUT", &path, &query, UNSIGNED, &length, part).await?;
            let Answer::Done(head, _) = answer else { return self.refused(answer) };
            listed.push((number, head.etag));
        }
        let complete = completion(&listed);
        let length = format!("Content-Length: {}\r\n", complete.len());
        let payload = sha256_hex(complete.as_bytes());
        self.may_be[key].push(Some(version));
        let query = format!("uploadId={id}");
        let answer = self.ask("POST", &path, &query, &payload, &length, complete.as_bytes()).await?;
        match answer {
            Answer::Done(_, document) if String::from_utf8_lossy(&document).contains("<Error>") => {
                Err(io::Error::other("completed with an error"))
            }
            Answer::Done(..) | Answer::Refused(..) => self.settle(key, answer, Some(version)),
        }
    }

    async fn delete(&mut self, key: usize) -> io::Result<()> {
        self.may_be[key].push(None);
        let answer = self.ask("DELETE", &self.path(key), "", UNSIGNED, "", b"").await?;
        self.settle(key, answer, None)
    }

    async fn get(&mut self, key: usize) -> io::Result<()> {
        let answer = self.ask("GET", &self.path(key), "", UNSIGNED, "", b"").await?;
        self.compare(key, answer, |content| content.to_vec())
    }

    async fn get_range(&mut self, key: usize) -> io::Result<()> {
        let sizes = self.may_be[key].iter().map(|version| version.map_or(0, |version| version.size));
        let least = sizes.min().unwrap_or(0);
        if least == 0 {
            return Ok(());
        }
        let first = self.below(least);
        let last = first + self.below((least - first).min(1 << 20));
        let range = format!("Range: bytes={first}-{last}\r\n");
        let answer = self.ask("GET", &self.path(key), "", UNSIGNED, &range, b"").await?;
        self.compare(key, answer, |content| content[first..=last].to_vec())
    }

    async fn list(&mut self) -> io::Result<()> {
        let query = format!("list-type=2&prefix=soak-{}-", self.number);
        let answer = self.ask("GET", &format!("/{}", self.place.bucket), &query, UNSIGNED, "", b"").await?;
        match answer {
            Answer::Done(..) => Ok(()),
            Answer::Refused(..) => self.refused(answer),
        }
    }

    /// Goes away in the middle of an answer.
    async fn give_up_reading(&mut self, key: usize) -> io::Result<()> {
        let path = self.path(key);
        let head = self.head("GET", &path, "", UNSIGNED, "").await?;
        let (mut wire, _) = self.wire.take().expect("the head was signed for it");
        wire.write(&head, b"").await?;
        let answer = wire.answer().await?;
        let mut seen = 0;
        let reading = wire.body(answer.framing, |piece| seen += piece.len());
        drop(tokio::time::timeout(Duration::from_millis(self.dice % 4), reading).await);
        wire.reset();
        self.tally.abandoned += 1;
        Ok(())
    }

    /// Goes away in the middle of an upload: nothing of it may ever be seen.
    async fn give_up_writing(&mut self, key: usize) -> io::Result<()> {
        let version = Version { seed: self.roll(), size: SIZES[1 + self.below(SIZES.len() - 1)] };
        let content = content(version);
        let length = format!("Content-Length: {}\r\n", content.len());
        let path = self.path(key);
        let head = self.head("PUT", &path, "", UNSIGNED, &length).await?;
        let (mut wire, _) = self.wire.take().expect("the head was signed for it");
        let sent = self.below(content.len());
        drop(wire.write(&head, &content[..sent]).await);
        wire.reset();
        self.tally.abandoned += 1;
        Ok(())
    }

    /// A success makes an object what it now is.
    fn settle(&mut self, key: usize, answer: Answer, now: Option<Version>) -> io::Result<()> {
        match answer {
            Answer::Done(..) => {
                self.may_be[key] = vec![now];
                Ok(())
            }
            Answer::Refused(..) => self.refused(answer),
        }
    }

    /// Refusals for the store's sake are to be expected; others are wrong.
    fn refused(&mut self, answer: Answer) -> io::Result<()> {
        if let Answer::Refused(status, text) = answer {
            if status < 500 {
                self.wrong(format!("status {status}: {text}"));
            }
            return Err(io::Error::other(format!("status {status}")));
        }
        Ok(())
    }

    fn compare(&mut self, key: usize, answer: Answer, part: impl Fn(&[u8]) -> Vec<u8>) -> io::Result<()> {
        let may_be = self.may_be[key].clone();
        match answer {
            Answer::Refused(404, _) if may_be.contains(&None) => {
                self.may_be[key] = vec![None];
                Ok(())
            }
            Answer::Refused(..) => self.refused(answer),
            Answer::Done(_, seen) => {
                let is = may_be.iter().flatten().find(|version| part(&content(**version)) == seen);
                self.tally.verified += 1;
                if is.is_none() {
                    self.wrong(format!("{} bytes of {} are none of {may_be:?}", seen.len(), self.path(key)));
                }
                Ok(())
            }
        }
    }

    fn wrong(&mut self, what: String) {
        self.tally.wrong += 1;
        if self.tally.first_wrong.is_empty() {
            self.tally.first_wrong = what;
        }
    }

    /// One request and all of its answer.
    async fn ask(
        &mut self,
        method: &str,
        path: &str,
        query: &str,
        payload: &str,
        more: &str,
        body: &[u8],
    ) -> io::Result<Answer> {
        let head = self.head(method, path, query, payload, more).await?;
        let (wire, _) = self.wire.as_mut().expect("the head was signed for it");
        let exchange = async {
            let sent = wire.write(&head, body).await;
            let answer = wire.answer_to(sent).await?;
            let mut content = Vec::new();
            wire.body(answer.framing, |piece| content.extend_from_slice(piece)).await?;
            Ok::<_, io::Error>((answer, content))
        };
        let late = || io::Error::other("no answer within a minute");
        let (answer, content) = tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| late())??;
        if answer.closes {
            self.wire = None;
        }
        if (200..300).contains(&answer.status) {
            return Ok(Answer::Done(answer, content));
        }
        Ok(Answer::Refused(answer.status, String::from_utf8_lossy(&content).chars().take(300).collect()))
    }

    /// A signed head, on a connection that is open.
    async fn head(
        &mut self,
        method: &str,
        path: &str,
        query: &str,
        payload: &str,
        more: &str,
    ) -> io::Result<Vec<u8>> {
        let Place { dialer, access_key, secret_key, .. } = &*self.place;
        if self.wire.is_none() || self.dice.is_multiple_of(50) {
            let wire = dialer.connect().await?;
            self.wire = Some((wire, Signer::new(access_key, secret_key)));
        }
        let (_, signer) = self.wire.as_ref().expect("it was just opened");
        Ok(signer.head(method, dialer.address(), path, query, payload, more))
    }

    fn path(&self, key: usize) -> String {
        format!("/{}/soak-{}-{key}", self.place.bucket, self.number)
    }

    fn roll(&mut self) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.dice)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.roll() % limit as u64).expect("it is below a usize")
    }
}

/// The finalizer of SplitMix64.
fn mixed(mut seed: u64) -> u64 {
    seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ (seed >> 31)
}

/// Bytes that no other version has.
fn content(version: Version) -> Vec<u8> {
    let mut content = Vec::with_capacity(version.size + 8);
    let mut state = version.seed;
    while content.len() < version.size {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        content.extend_from_slice(&mixed(state).to_le_bytes());
    }
    content.truncate(version.size);
    content
}
