//! What a client was asked, and whether it said what it should.

use std::fmt::Display;
use std::mem;
use std::time::Instant;

/// The rows of one client.
pub struct Report {
    client: &'static str,
    version: String,
    topics: Vec<Topic>,
    failures: Vec<String>,
    began: Instant,
}

struct Topic {
    name: String,
    asked: u32,
    as_wanted: u32,
}

impl Report {
    pub fn new(client: &'static str) -> Self {
        let version = String::new();
        let (topics, failures) = (Vec::new(), Vec::new());
        Self { client, version, topics, failures, began: Instant::now() }
    }

    /// Notes what the client says its version is.
    pub fn version(&mut self, version: &str) {
        version.trim().clone_into(&mut self.version);
    }

    /// The client has to say each of `wanted`.
    pub fn says(&mut self, topic: &str, asked: impl Display, said: &str, wanted: &[&str]) {
        let missing: Vec<&&str> = wanted.iter().filter(|text| !said.contains(**text)).collect();
        self.holds(topic, asked, missing.is_empty(), || format!("wanted {missing:?} in\n{said}"));
    }

    /// The client has to say exactly this.
    pub fn equals(&mut self, topic: &str, asked: impl Display, said: &str, wanted: &str) {
        self.holds(topic, asked, said == wanted, || format!("wanted: {wanted}\nsaid:   {said}"));
    }

    /// Something has to be so; otherwise `told` says what is.
    #[expect(clippy::fn_params_excessive_bools, reason = "an assertion")]
    pub fn holds<T: Display>(
        &mut self,
        topic: &str,
        asked: impl Display,
        is_so: bool,
        told: impl FnOnce() -> T,
    ) {
        if is_so {
            let topic = self.topic(topic);
            topic.asked += 1;
            topic.as_wanted += 1;
        } else {
            self.fail(topic, asked, told());
        }
    }

    pub fn fail(&mut self, topic: &str, asked: impl Display, told: impl Display) {
        self.topic(topic).asked += 1;
        self.failures.push(format!("FAILED {}, {topic}: {asked}\n{told}", self.client));
    }

    /// How often the client was asked.
    pub fn asked(&self) -> u32 {
        self.topics.iter().map(|topic| topic.asked).sum()
    }

    /// Prints the rows; what failed.
    pub fn print(self) -> Vec<String> {
        let mut first = format!("{} ({}s)", self.client, self.began.elapsed().as_secs());
        let mut version = self.version;
        for Topic { name, asked, as_wanted } in self.topics {
            let (first, version) = (mem::take(&mut first), mem::take(&mut version));
            println!("| {first} | {version} | {name} | {as_wanted} of {asked} |");
        }
        self.failures
    }

    fn topic(&mut self, name: &str) -> &mut Topic {
        let at = self.topics.iter().position(|topic| topic.name == name);
        let at = at.unwrap_or_else(|| {
            self.topics.push(Topic { name: name.to_owned(), asked: 0, as_wanted: 0 });
            self.topics.len() - 1
        });
        &mut self.topics[at]
    }
}
