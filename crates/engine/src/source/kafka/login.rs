//! Who we are and whom we trust: Java's SASL and TLS properties in librdkafka's terms.

use super::known::STORES_AND_LOGIN;
use super::properties::{Properties, Property, PropertyError, wrong_value};
use crate::codes;
use crate::error::Error;
use std::collections::BTreeMap;

type Settings = BTreeMap<String, String>;

/// Whether a property is translated here, together with others.
pub(super) fn owns(key: &str) -> bool {
    STORES_AND_LOGIN.contains(&key)
}

fn refuse<T>(key: &str, error: Error) -> Result<T, PropertyError> {
    Err(PropertyError { key: key.to_owned(), error })
}

fn value<'a>(properties: &'a Properties, key: &str) -> Option<&'a str> {
    properties.get(key).map(|property| property.value.trim()).filter(|value| !value.is_empty())
}

fn copy(settings: &mut Settings, properties: &Properties, key: &str, name: &str) {
    if let Some(value) = value(properties, key) {
        settings.insert(name.to_owned(), value.to_owned());
    }
}

// ---- stores -------------------------------------------------------------------------------------------------------

/// Trust stores, key stores and what belongs to them.
pub(super) fn translate_stores(settings: &mut Settings, properties: &Properties) -> Result<(), PropertyError> {
    trust(settings, properties)?;
    keys(settings, properties)?;
    copy(settings, properties, "ssl.key.password", "ssl.key.password");
    if let Some(property) = properties.get("ssl.endpoint.identification.algorithm") {
        // In Java the empty text switches the check of the broker's name off.
        let name = match property.value.trim() {
            "" | "none" => "none",
            "https" | "HTTPS" => "https",
            _ => {
                let key = "ssl.endpoint.identification.algorithm";
                return refuse(key, wrong_value(key, property, "'https' or ''"));
            }
        };
        settings.insert("ssl.endpoint.identification.algorithm".to_owned(), name.to_owned());
    }
    Ok(())
}

fn trust(settings: &mut Settings, properties: &Properties) -> Result<(), PropertyError> {
    copy(settings, properties, "ssl.truststore.certificates", "ssl.ca.pem");
    let Some(location) = value(properties, "ssl.truststore.location") else { return Ok(()) };
    match store_type(properties, "ssl.truststore.type", location) {
        Store::Pem => copy(settings, properties, "ssl.truststore.location", "ssl.ca.location"),
        Store::Pkcs12 => return refuse("ssl.truststore.location", convert_trust(location, "PKCS12")),
        Store::Java => return refuse("ssl.truststore.location", convert_trust(location, "JKS")),
    }
    Ok(())
}

fn keys(settings: &mut Settings, properties: &Properties) -> Result<(), PropertyError> {
    copy(settings, properties, "ssl.keystore.key", "ssl.key.pem");
    copy(settings, properties, "ssl.keystore.certificate.chain", "ssl.certificate.pem");
    let Some(location) = value(properties, "ssl.keystore.location") else { return Ok(()) };
    match store_type(properties, "ssl.keystore.type", location) {
        Store::Pem => {
            copy(settings, properties, "ssl.keystore.location", "ssl.key.location");
            copy(settings, properties, "ssl.keystore.location", "ssl.certificate.location");
            copy(settings, properties, "ssl.keystore.password", "ssl.key.password");
        }
        Store::Pkcs12 => {
            copy(settings, properties, "ssl.keystore.location", "ssl.keystore.location");
            copy(settings, properties, "ssl.keystore.password", "ssl.keystore.password");
        }
        Store::Java => return refuse("ssl.keystore.location", convert_keys(location)),
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Store {
    Pem,
    Pkcs12,
    Java,
}

/// Java takes a store for JKS unless its type says otherwise; a file's name is believed before that.
fn store_type(properties: &Properties, type_key: &str, location: &str) -> Store {
    let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| location.to_ascii_lowercase().ends_with(suffix));
    match value(properties, type_key).map(str::to_ascii_uppercase).as_deref() {
        Some("PEM") => Store::Pem,
        Some("PKCS12") => Store::Pkcs12,
        Some(_) => Store::Java,
        None if ends(&[".pem", ".crt", ".cer"]) => Store::Pem,
        None if ends(&[".p12", ".pfx"]) => Store::Pkcs12,
        None => Store::Java,
    }
}

fn convert_trust(location: &str, kind: &str) -> Error {
    Error::config(codes::OF0407, format!("the trust store '{location}' is {kind}; only PEM can be read"))
        .help(format!("keytool -list -rfc -keystore {location} | sed -n '/BEGIN CERT/,/END CERT/p' > truststore.pem"))
        .help("'properties.ssl.truststore.type' = 'PEM', 'properties.ssl.truststore.location' = 'truststore.pem'")
}

fn convert_keys(location: &str) -> Error {
    Error::config(codes::OF0407, format!("the key store '{location}' is JKS; only PEM and PKCS12 can be read"))
        .help(format!(
            "keytool -importkeystore -srckeystore {location} -destkeystore keystore.p12 -deststoretype PKCS12"
        ))
        .help("'properties.ssl.keystore.type' = 'PKCS12', 'properties.ssl.keystore.location' = 'keystore.p12'")
}

// ---- logins -------------------------------------------------------------------------------------------------------

const PROTOCOLS: &[&str] = &["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];
const MECHANISMS: &[&str] = &["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"];

/// The protocol, the mechanism and the login module.
pub(super) fn translate_login(settings: &mut Settings, properties: &Properties) -> Result<(), PropertyError> {
    let protocol = protocol(properties)?;
    if let Some(protocol) = &protocol {
        settings.insert("security.protocol".to_owned(), protocol.clone());
    }
    copy(settings, properties, "sasl.username", "sasl.username");
    copy(settings, properties, "sasl.password", "sasl.password");
    let module = match properties.get("sasl.jaas.config") {
        Some(property) => Some(login_module(property)?),
        None => None,
    };
    let mechanism = mechanism(properties, module.as_ref())?;
    if let Some(module) = &module {
        apply_module(settings, module, mechanism.as_deref())?;
    }
    let sasl = protocol.is_some_and(|protocol| protocol.starts_with("sasl"));
    match mechanism {
        Some(mechanism) => {
            settings.insert("sasl.mechanisms".to_owned(), mechanism);
        }
        None if sasl => {
            let error = Error::config(codes::OF0407, "SASL without 'properties.sasl.mechanism' means Kerberos")
                .note("this build has no Kerberos (GSSAPI)")
                .help("'properties.sasl.mechanism' = 'SCRAM-SHA-512'");
            return refuse("security.protocol", error);
        }
        None => {}
    }
    Ok(())
}

fn protocol(properties: &Properties) -> Result<Option<String>, PropertyError> {
    let key = "security.protocol";
    let Some(property) = properties.get(key) else { return Ok(None) };
    let protocol = property.value.trim().to_ascii_lowercase();
    if PROTOCOLS.contains(&protocol.as_str()) {
        return Ok(Some(protocol));
    }
    refuse(key, wrong_value(key, property, "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"))
}

fn mechanism(properties: &Properties, module: Option<&Module>) -> Result<Option<String>, PropertyError> {
    for key in ["sasl.mechanism", "sasl.mechanisms"] {
        let Some(property) = properties.get(key) else { continue };
        let mechanism = property.value.trim().to_ascii_uppercase();
        if mechanism == "GSSAPI" {
            let error = Error::config(codes::OF0407, format!("'properties.{key}' is 'GSSAPI'"))
                .note("this build has no Kerberos (GSSAPI)")
                .help("use SCRAM-SHA-512 or PLAIN over TLS, or TLS client certificates");
            return refuse(key, error);
        }
        if !MECHANISMS.contains(&mechanism.as_str()) {
            return refuse(key, wrong_value(key, property, "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"));
        }
        return Ok(Some(mechanism));
    }
    let implied = module.filter(|module| module.class == "PlainLoginModule");
    Ok(implied.map(|_| "PLAIN".to_owned()))
}

/// A login module of a JAAS text: the last part of its class and its options.
#[derive(PartialEq, Eq, Debug)]
struct Module {
    class: String,
    options: BTreeMap<String, String>,
}

fn login_module(property: &Property) -> Result<Module, PropertyError> {
    parse_module(&property.value).or_else(|why| {
        let error = Error::config(codes::OF0408, format!("'properties.sasl.jaas.config' cannot be read: {why}"))
            .help("org.apache.kafka.common.security.scram.ScramLoginModule required username=\"…\" password=\"…\";");
        refuse("sasl.jaas.config", error)
    })
}

/// Reads `class flag name=value … ;`. Never puts a value into its error.
fn parse_module(text: &str) -> Result<Module, String> {
    let mut words = Words { rest: text.trim() };
    let class = words.bare().ok_or("the login module is missing")?;
    let flag = words.bare().ok_or("'required' is missing after the login module")?;
    if !["required", "requisite", "sufficient", "optional"].contains(&flag.to_ascii_lowercase().as_str()) {
        return Err("'required' is missing after the login module".to_owned());
    }
    let mut options = BTreeMap::new();
    while let Some(name) = words.bare() {
        options.insert(name.to_owned(), words.value().ok_or_else(|| format!("option '{name}' has no value"))?);
    }
    match words.rest.trim() {
        ";" => {}
        "" => return Err("the ';' at the end is missing".to_owned()),
        _ => return Err("something stands after the ';', or a quote is not closed".to_owned()),
    }
    Ok(Module { class: class.rsplit('.').next().unwrap_or(class).to_owned(), options })
}

struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    /// The next name; none at `;` or the end.
    fn bare(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| c.is_whitespace() || "=;\"'".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        (!word.is_empty()).then(|| {
            self.rest = rest;
            word
        })
    }

    /// `=` and a value, quoted or not. A backslash takes the next character as it is.
    fn value(&mut self) -> Option<String> {
        let rest = self.rest.trim_start().strip_prefix('=')?.trim_start();
        let quote = rest.chars().next().filter(|c| "\"'".contains(*c));
        let mut chars = rest.char_indices().skip(usize::from(quote.is_some()));
        let mut value = String::new();
        while let Some((at, c)) = chars.next() {
            let ended = quote.map_or(c.is_whitespace() || c == ';', |quote| quote == c);
            if ended {
                self.rest = &rest[at + if quote.is_some() { c.len_utf8() } else { 0 }..];
                return Some(value);
            }
            value.push(if c == '\\' { chars.next()?.1 } else { c });
        }
        quote.is_none().then(|| {
            self.rest = "";
            value
        })
    }
}

fn apply_module(settings: &mut Settings, module: &Module, mechanism: Option<&str>) -> Result<(), PropertyError> {
    let key = "sasl.jaas.config";
    match module.class.as_str() {
        "PlainLoginModule" | "ScramLoginModule" => {
            for name in ["username", "password"] {
                let Some(value) = module.options.get(name) else {
                    let message = format!("'properties.{key}' has no '{name}'");
                    return refuse(key, Error::config(codes::OF0408, message));
                };
                settings.insert(format!("sasl.{name}"), value.clone());
            }
            agree(module, mechanism)
        }
        "OAuthBearerLoginModule" => bearer(settings, module),
        class => {
            let error = Error::config(codes::OF0407, format!("the login module '{class}' is not supported"))
                .help("PlainLoginModule, ScramLoginModule and OAuthBearerLoginModule are");
            refuse(key, error)
        }
    }
}

fn agree(module: &Module, mechanism: Option<&str>) -> Result<(), PropertyError> {
    let scram = module.class == "ScramLoginModule";
    match mechanism {
        Some(mechanism) if mechanism.starts_with("SCRAM") == scram => Ok(()),
        None if !scram => Ok(()),
        other => {
            let named = other.unwrap_or("missing");
            let message = format!("'properties.sasl.mechanism' is {named}, but the login module is {}", module.class);
            let help = if scram { "SCRAM-SHA-512" } else { "PLAIN" };
            let error = Error::config(codes::OF0408, message).help(format!("'properties.sasl.mechanism' = '{help}'"));
            refuse("sasl.jaas.config", error)
        }
    }
}

/// Only unsecured tokens, which brokers in tests take: fetching real ones needs what this build has not.
fn bearer(settings: &mut Settings, module: &Module) -> Result<(), PropertyError> {
    match module.options.get("unsecuredLoginStringClaim_sub") {
        Some(principal) => {
            settings.insert("sasl.oauthbearer.config".to_owned(), format!("principal={principal}"));
            settings.insert("enable.sasl.oauthbearer.unsecure.jwt".to_owned(), "true".to_owned());
            Ok(())
        }
        None => {
            let error = Error::config(codes::OF0407, "OAUTHBEARER tokens cannot be fetched by this build")
                .note("librdkafka is built without libcurl; only 'unsecuredLoginStringClaim_sub' is supported")
                .help("use SCRAM-SHA-512 or PLAIN over TLS, or TLS client certificates");
            refuse("sasl.jaas.config", error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::properties::translate_properties;
    use super::*;

    fn check(pairs: &[(&str, &str)], expected: Result<&[&str], &str>) {
        let servers = [("bootstrap.servers", "b:9092")];
        let all = servers.iter().chain(pairs);
        let properties = all.map(|(key, value)| ((*key).to_owned(), Property::plain(*value))).collect();
        let got =
            translate_properties(&properties).map_err(|refused| format!("{} {}", refused.error.code(), refused.key));
        let got = got.map(|done| {
            let settings = done.settings.iter().filter(|(key, _)| *key != "bootstrap.servers");
            settings.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()
        });
        let expected = expected.map(|lines| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
        assert_eq!(got, expected.map_err(str::to_owned), "{pairs:?}");
    }

    const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"al ice\" \
                         password='se\"c;\\'ret' ;";
    const SCRAM: &str = "o.ScramLoginModule required username=alice password=secret;";

    #[test]
    fn login_modules_become_user_and_password() {
        let plain = ["sasl.mechanisms=PLAIN", "sasl.password=se\"c;'ret", "sasl.username=al ice"];
        check(&[("sasl.jaas.config", PLAIN)], Ok(&plain));
        check(&[("sasl.jaas.config", PLAIN), ("sasl.mechanism", "PLAIN")], Ok(&plain));
        check(
            &[("sasl.jaas.config", SCRAM), ("sasl.mechanism", "SCRAM-SHA-512"), ("security.protocol", "SASL_SSL")],
            Ok(&[
                "sasl.mechanisms=SCRAM-SHA-512",
                "sasl.password=secret",
                "sasl.username=alice",
                "security.protocol=sasl_ssl",
            ]),
        );
    }

    #[test]
    fn login_texts_that_do_not_fit_are_refused() {
        let jaas = |text: &'static str| [("sasl.jaas.config", text), ("sasl.mechanism", "PLAIN")];
        for text in [
            "",
            "a.PlainLoginModule",
            "a.PlainLoginModule required username=\"x\" password=\"y\"",
            "a.PlainLoginModule required username=\"x;",
            "a.PlainLoginModule required username=\"x\";",
            "a.PlainLoginModule required username password=\"x\";",
        ] {
            check(&jaas(text), Err("OF0408 sasl.jaas.config"));
        }
        check(&jaas(SCRAM), Err("OF0408 sasl.jaas.config"));
        check(&[("sasl.jaas.config", SCRAM)], Err("OF0408 sasl.jaas.config"));
        check(&jaas("com.sun.Krb5LoginModule required;"), Err("OF0407 sasl.jaas.config"));
        check(&[("sasl.mechanism", "GSSAPI")], Err("OF0407 sasl.mechanism"));
        check(&[("security.protocol", "SASL_SSL")], Err("OF0407 security.protocol"));
        check(&[("security.protocol", "TLS")], Err("OF0408 security.protocol"));
        check(
            &[("sasl.jaas.config", "x.OAuthBearerLoginModule required clientId=\"a\";")],
            Err("OF0407 sasl.jaas.config"),
        );
    }

    #[test]
    fn pem_and_pkcs12_stores_are_translated_and_java_stores_refused() {
        check(&[("ssl.truststore.type", "PEM"), ("ssl.truststore.location", "/ca")], Ok(&["ssl.ca.location=/ca"]));
        check(&[("ssl.truststore.certificates", "-----BEGIN")], Ok(&["ssl.ca.pem=-----BEGIN"]));
        check(
            &[("ssl.keystore.location", "/me.pem"), ("ssl.key.password", "p")],
            Ok(&["ssl.certificate.location=/me.pem", "ssl.key.location=/me.pem", "ssl.key.password=p"]),
        );
        check(
            &[("ssl.keystore.location", "/me.p12"), ("ssl.keystore.password", "p")],
            Ok(&["ssl.keystore.location=/me.p12", "ssl.keystore.password=p"]),
        );
        check(&[("ssl.endpoint.identification.algorithm", "")], Ok(&["ssl.endpoint.identification.algorithm=none"]));
        check(&[("ssl.truststore.location", "/t.jks")], Err("OF0407 ssl.truststore.location"));
        check(&[("ssl.truststore.location", "/t.p12")], Err("OF0407 ssl.truststore.location"));
        check(&[("ssl.keystore.location", "/k.jks")], Err("OF0407 ssl.keystore.location"));
    }
}
