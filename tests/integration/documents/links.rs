//! What the documents point to is there.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_relative_link_leads_to_a_file() {
    let mut documents = Vec::new();
    markdown(root(), &mut documents);
    let (mut seen, mut broken) = (0, Vec::new());
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for target in links(&text) {
            seen += 1;
            let (file, _) = target.split_once('#').unwrap_or((target, ""));
            if !document.parent().unwrap().join(file).exists() {
                let shown = document.strip_prefix(root()).unwrap().display();
                broken.push(format!("{shown}: ]({target})"));
            }
        }
    }
    assert!(broken.is_empty(), "no such file:\n{}", broken.join("\n"));
    assert!(seen > 50, "{seen} links: are they written differently now?");
}

#[test]
fn every_document_that_the_manual_or_the_example_names_is_there() {
    let (mut seen, mut missing) = (0, Vec::new());
    for place in ["config.toml.example", "man/ocsp-fcgi.8", "man/ocsp-fcgi.toml.5"] {
        let text = fs::read_to_string(root().join(place)).unwrap();
        for name in names(&text) {
            seen += 1;
            if !root().join(name).is_file() {
                missing.push(format!("{place}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "no such file:\n{}", missing.join("\n"));
    assert!(seen > 3, "{seen} names: are they written differently now?");
}

#[test]
fn links_and_names_are_found() {
    let text = "[a](b.md#c), [d](../e) and\n[f](https://g.example/), [h](#i) [j](mailto:k@l)";
    assert_eq!(links(text).collect::<Vec<_>>(), ["b.md#c", "../e"]);
    let text = ".Pa docs/rfc-coverage.md\n# (docs/hsm.md); docs/a.toml, docs/";
    assert_eq!(names(text).collect::<Vec<_>>(), ["docs/rfc-coverage.md", "docs/hsm.md"]);
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Markdown files in and below a folder; not those that a build or git has put there.
fn markdown(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_ours = !name.to_string_lossy().starts_with('.') && name != "target";
        if entry.file_type().unwrap().is_dir() {
            if is_ours {
                markdown(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The targets `](target)` that are files of this project.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let elsewhere = ["http:", "https:", "mailto:", "#"];
    targets.filter(move |target| !elsewhere.iter().any(|start| target.starts_with(start)))
}

/// The words `docs/….md`.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("docs/").filter_map(|(at, _)| {
        let word =
            text[at..].split(|c: char| !(c.is_alphanumeric() || "/-_.".contains(c))).next()?;
        let end = word.rfind(".md")?;
        Some(&word[..end + ".md".len()])
    })
}
