//! `LIKE other (INCLUDING | EXCLUDING | OVERWRITING part …)`.

use super::insert::table_name;
use super::{Cursor, table::Body};
use crate::model::{ColumnDecl, ColumnKind, Script, TableDecl};
use onceflow::codes::{OF0209, OF0214};
use onceflow::{Error, Place, Result};
use sqlparser::tokenizer::Token;

/// What happens to a part of the other declaration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Merge {
    Including,
    Excluding,
    Overwriting,
}

/// What happens to each part. As in Flink: everything is included, and options are overwritten.
#[derive(Clone, Copy, Debug)]
struct Choice {
    constraints: Merge,
    generated: Merge,
    metadata: Merge,
    options: Merge,
    watermarks: Merge,
}

const DEFAULT: Choice = Choice {
    constraints: Merge::Including,
    generated: Merge::Including,
    metadata: Merge::Including,
    options: Merge::Overwriting,
    watermarks: Merge::Including,
};

/// Reads what follows `LIKE` and puts the other declaration in front of the body.
pub(super) fn like(cursor: &mut Cursor<'_>, script: &Script, body: Body) -> Result<Body> {
    let (name, place) = table_name(cursor)?;
    let Some(other) = script.tables.iter().find(|table| *table.name == *name) else {
        let names = script.tables.iter().map(|table| &*table.name);
        return Err(Error::config(OF0209, format!("no table {name} is declared before this statement"))
            .at(&place)
            .help(crate::suggest::help(&name, "tables before", names)));
    };
    let choice = choice(cursor)?;
    merge(body, other, choice, &place)
}

fn choice(cursor: &mut Cursor<'_>) -> Result<Choice> {
    let mut choice = DEFAULT;
    if !cursor.take_token(&Token::LParen) {
        return Ok(choice);
    }
    while !cursor.take_token(&Token::RParen) {
        let place = cursor.place();
        let how = if cursor.take(&["INCLUDING"]) {
            Merge::Including
        } else if cursor.take(&["EXCLUDING"]) {
            Merge::Excluding
        } else if cursor.take(&["OVERWRITING"]) {
            Merge::Overwriting
        } else {
            return Err(cursor.expected("INCLUDING, EXCLUDING or OVERWRITING"));
        };
        part(cursor, &mut choice, how, &place)?;
        cursor.take_token(&Token::Comma);
    }
    Ok(choice)
}

fn part(cursor: &mut Cursor<'_>, choice: &mut Choice, how: Merge, place: &Place) -> Result<()> {
    let word = cursor.peek().and_then(crate::text::Tok::bare).unwrap_or_default().to_uppercase();
    match word.as_str() {
        "ALL" if how != Merge::Overwriting => {
            let options = if how == Merge::Including { Merge::Overwriting } else { how };
            *choice = Choice { constraints: how, generated: how, metadata: how, options, watermarks: how };
        }
        "CONSTRAINTS" if how != Merge::Overwriting => choice.constraints = how,
        "GENERATED" => choice.generated = how,
        "METADATA" => choice.metadata = how,
        "OPTIONS" => choice.options = how,
        "WATERMARKS" => choice.watermarks = how,
        // No declaration here has these parts, so every choice is fulfilled.
        "PARTITIONS" | "DISTRIBUTION" => {}
        "ALL" | "CONSTRAINTS" => {
            return Err(Error::config(OF0214, format!("OVERWRITING {word} is not possible")).at(place));
        }
        _ => {
            return Err(cursor
                .expected("ALL, CONSTRAINTS, DISTRIBUTION, GENERATED, METADATA, OPTIONS, PARTITIONS or WATERMARKS"));
        }
    }
    cursor.skip(1);
    Ok(())
}

fn merge(mut body: Body, other: &TableDecl, choice: Choice, place: &Place) -> Result<Body> {
    let mut columns = Vec::new();
    for column in &other.columns {
        let how = match column.kind {
            ColumnKind::Physical => Merge::Including,
            ColumnKind::Computed(_) => choice.generated,
            ColumnKind::Metadata { .. } => choice.metadata,
        };
        let own = body.columns.iter().position(|own| own.name == column.name);
        match (how, own) {
            (Merge::Excluding, _) => {}
            (_, None) => columns.push(column.clone()),
            (Merge::Overwriting, Some(own)) => columns.push(body.columns.remove(own)),
            (Merge::Including, Some(own)) => return Err(twice(&body.columns[own], column, &other.name)),
        }
    }
    columns.append(&mut body.columns);
    body.columns = columns;
    merge_rest(&mut body, other, choice, place)?;
    Ok(body)
}

fn twice(own: &ColumnDecl, column: &ColumnDecl, other: &str) -> Error {
    let error = Error::config(OF0214, format!("the column {} is also in {other}", own.name)).at(&own.place);
    match column.kind {
        ColumnKind::Physical => error.help("remove it here: the columns of the other table are taken over"),
        ColumnKind::Computed(_) => error.help("write LIKE … (OVERWRITING GENERATED)"),
        ColumnKind::Metadata { .. } => error.help("write LIKE … (OVERWRITING METADATA)"),
    }
}

fn merge_rest(body: &mut Body, other: &TableDecl, choice: Choice, place: &Place) -> Result<()> {
    if choice.constraints == Merge::Including && !other.primary_key.is_empty() {
        if let Some((_, key)) = &body.key {
            return Err(Error::config(OF0214, format!("{} has a primary key as well", other.name))
                .at(key)
                .help("write LIKE … (EXCLUDING CONSTRAINTS)"));
        }
        body.key = Some((other.primary_key.clone(), place.clone()));
    }
    match (&body.watermark, &other.watermark, choice.watermarks) {
        (Some((_, _, own)), Some(_), Merge::Including) => {
            return Err(Error::config(OF0214, format!("{} has a watermark as well", other.name))
                .at(own)
                .help("write LIKE … (OVERWRITING WATERMARKS)"));
        }
        (None, Some(watermark), Merge::Including | Merge::Overwriting) => body.watermark = Some(watermark.clone()),
        _ => {}
    }
    if choice.options == Merge::Excluding {
        return Ok(());
    }
    for (key, value) in &other.options {
        match body.options.get(key) {
            Some(own) if choice.options == Merge::Including => {
                return Err(Error::config(OF0214, format!("the option '{key}' is also in {}", other.name))
                    .at(&own.key_place)
                    .help("write LIKE … (OVERWRITING OPTIONS)"));
            }
            Some(_) => {}
            None => {
                body.options.insert(key.clone(), value.clone());
            }
        }
    }
    Ok(())
}
