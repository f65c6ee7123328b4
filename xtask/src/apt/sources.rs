//! apt's two formats of sources, sources.list(5): read, narrowed to Debian's own archive, written as deb822.

use std::fmt;

/// One place and the suites that are fetched from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    /// Key file or, over several lines, the key itself, as it was written.
    signed_by: Option<String>,
    trusted: Option<String>,
}

impl Source {
    /// Reads one line of `sources.list`: `deb [option=value …] URI SUITE COMPONENT…`.
    pub fn from_line(line: &str) -> Option<Self> {
        let line = line.split('#').next()?.trim();
        let rest = line.strip_prefix("deb")?;
        let rest = rest.strip_prefix(char::is_whitespace)?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let option = |name: &str| {
            options.split_whitespace().find_map(|option| {
                let (key, value) = option.split_once('=')?;
                (key == name).then(|| value.replace(',', " "))
            })
        };
        let mut words = rest.split_whitespace().map(String::from);
        Some(Source {
            uris: vec![words.next()?],
            suites: vec![words.next()?],
            components: words.collect(),
            signed_by: option("signed-by"),
            trusted: option("trusted"),
        })
    }

    /// Reads one stanza of a `.sources` file; `None` when it is off or for source packages only.
    pub fn from_stanza(stanza: &str) -> Option<Self> {
        let words = |name| -> Vec<String> {
            field(stanza, name).unwrap_or_default().split_whitespace().map(String::from).collect()
        };
        let off = field(stanza, "Enabled").is_some_and(|value| {
            ["no", "false", "0", "off", "without", "disable"]
                .contains(&value.to_lowercase().as_str())
        });
        if off || !words("Types").iter().any(|kind| kind == "deb") {
            return None;
        }
        Some(Source {
            uris: words("URIs"),
            suites: words("Suites"),
            components: words("Components"),
            signed_by: field(stanza, "Signed-By"),
            trusted: field(stanza, "Trusted"),
        })
    }
}

/// As a deb822 stanza. The architectures are left out: a private root decides them.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Types: deb")?;
        writeln!(f, "URIs: {}", self.uris.join(" "))?;
        writeln!(f, "Suites: {}", self.suites.join(" "))?;
        writeln!(f, "Components: {}", self.components.join(" "))?;
        for (name, value) in [("Signed-By", &self.signed_by), ("Trusted", &self.trusted)] {
            if let Some(value) = value {
                writeln!(f, "{name}: {value}")?;
            }
        }
        Ok(())
    }
}

/// The stanzas of a deb822 file, without its comments.
pub fn stanzas(text: &str) -> Vec<String> {
    let mut stanzas = vec![String::new()];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line.trim().is_empty() {
            stanzas.push(String::new());
        } else if let Some(stanza) = stanzas.last_mut() {
            stanza.push_str(line);
            stanza.push('\n');
        }
    }
    stanzas.retain(|stanza| !stanza.is_empty());
    stanzas
}

/// A field of a stanza with its continuation lines.
pub fn field(stanza: &str, name: &str) -> Option<String> {
    let mut lines = stanza.lines();
    let first = lines.find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (!line.starts_with([' ', '\t']) && key.eq_ignore_ascii_case(name)).then_some(value.trim())
    })?;
    let mut value = first.to_string();
    for line in lines.take_while(|line| line.starts_with([' ', '\t'])) {
        value.push('\n');
        value.push_str(line);
    }
    Some(value)
}

/// Of `sources`, those of Debian's own `codename` release with its updates and security updates, narrowed to one component.
///
/// Other vendors' archives call their suites and components differently; one that does not is asked too, and its
/// packages are still only trusted with its own key.
pub fn debian(sources: &[Source], codename: &str, component: &str) -> Vec<Source> {
    let wanted = [
        codename.to_string(),
        format!("{codename}-updates"),
        format!("{codename}-security"),
        format!("{codename}/updates"),
    ];
    let mut found: Vec<Source> = Vec::new();
    for source in sources {
        let mut source = source.clone();
        source.suites.retain(|suite| wanted.contains(suite));
        source.components.retain(|found| found == component);
        if !source.suites.is_empty() && !source.components.is_empty() && !found.contains(&source) {
            found.push(source);
        }
    }
    found
}

/// `sources` with the release's backports: the archive has them beside the release's updates.
pub fn with_backports(sources: &[Source], codename: &str) -> Vec<Source> {
    let updates = format!("{codename}-updates");
    let has = |suite: &str| {
        sources.iter().find(|source| source.suites.iter().any(|found| found == suite))
    };
    let mut sources_and_backports = sources.to_vec();
    if let Some(archive) = has(&updates).or_else(|| has(codename)) {
        let suites = vec![format!("{codename}-backports")];
        sources_and_backports.push(Source { suites, ..archive.clone() });
    }
    sources_and_backports
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "# A comment\nTypes: deb deb-src\nURIs: http://mirror.example/debian\n\
        Suites: bookworm bookworm-updates\nComponents: main contrib\nSigned-By:\n -----BEGIN\n .\n abc\n\n\
        Types: deb\nURIs: http://mirror.example/security\nSuites: bookworm-security\nComponents: main\n\
        Architectures: amd64\n\nTypes: deb\nEnabled: no\nURIs: http://off.example\nSuites: bookworm\n\
        Components: main\n\nTypes: deb\nURIs: http://vendor.example\nSuites: bookworm\nComponents: stable\n";

    fn machine() -> Vec<Source> {
        stanzas(DEB822).iter().filter_map(|stanza| Source::from_stanza(stanza)).collect()
    }

    #[test]
    fn only_debians_own_suites_are_kept() {
        let found = debian(&machine(), "bookworm", "main");
        let uris: Vec<_> = found.iter().map(|source| source.uris[0].as_str()).collect();
        assert_eq!(uris, ["http://mirror.example/debian", "http://mirror.example/security"]);
        assert_eq!(found[0].components, ["main"]);
        assert_eq!(debian(&machine(), "bookworm", "contrib").len(), 1);
        assert_eq!(debian(&machine(), "bookworm", "non-free-firmware"), []);
    }

    #[test]
    fn backports_come_from_the_archive_with_its_key() {
        let sources = with_backports(&debian(&machine(), "bookworm", "main"), "bookworm");
        let backports = sources.last().unwrap().to_string();
        assert_eq!(
            backports,
            "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm-backports\nComponents: main\n\
             Signed-By: \n -----BEGIN\n .\n abc\n"
        );
        assert_eq!(Source::from_stanza(&backports).as_ref(), sources.last());
    }

    #[test]
    fn one_line_sources_are_read() {
        let line =
            "deb [arch=amd64 signed-by=/k.gpg,/l.gpg] http://m.example/debian bookworm main # x";
        let source = Source::from_line(line).unwrap();
        assert_eq!(source.uris, ["http://m.example/debian"]);
        assert_eq!(source.signed_by.as_deref(), Some("/k.gpg /l.gpg"));
        for line in ["", "# deb x y z", "deb-src http://m bookworm main", "deb", "deb [a", "deb x"]
        {
            assert_eq!(Source::from_line(line), None, "{line}");
        }
        let with_backports = with_backports(&debian(&[source], "bookworm", "main"), "bookworm");
        assert_eq!(with_backports[1].suites, ["bookworm-backports"]);
    }
}
