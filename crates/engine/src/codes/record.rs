//! Codes of records that cannot be decoded, and of formats that cannot give a column's type.

codes! {
    OF0601: "not valid JSON",
        "The record's value (or key) is not one valid JSON document (RFC 8259). The message says at which byte and what was \
         expected there. The whole document is checked, also the fields that no query uses, so the answer does not depend on \
         the query. Trailing text, leading zeros, `NaN`, comments, single quotes and lone surrogates (`\\ud800` without its \
         other half) are not valid.";
    OF0602: "not valid UTF-8",
        "JSON and CSV are text in UTF-8 and the record has a byte that is not. Producers that write Latin-1 or UTF-16 have to \
         be changed; with `'format' = 'raw'` and a BYTES column the bytes themselves can be read.";
    OF0603: "the value does not fit the column's type",
        "A field was found but cannot be converted to the type that the column declares. Onceflow never turns such a value \
         into NULL. Declare the column as STRING and convert it with TRY_CAST where NULL is wanted.";
    OF0604: "the number is out of range",
        "The field is a number but the declared type cannot hold it: it is too large or too small, or has more digits before \
         the point than DECIMAL(p, s) allows. Declare a wider type.";
    OF0605: "no value for a NOT NULL column",
        "The field is null or missing and the column is declared NOT NULL. Remove NOT NULL from the declaration, or mend \
         the producer.";
    OF0606: "a field is missing",
        "`'json.fail-on-missing-field' = 'true'` and the record lacks the field. Without the option the column is NULL.";
    OF0607: "nested too deeply",
        "The document nests arrays and objects more than 1000 levels deep. It is refused before it can exhaust memory.";
    OF0608: "wrong number of CSV fields",
        "A CSV record has to have exactly as many fields as the declaration has physical columns. Look at \
         `csv.field-delimiter` and `csv.quote-character`.";
    OF0609: "not one CSV record",
        "A quote is opened and never closed, text stands behind a closing quote, the record ends behind an escape character, or \
         the value holds more than one line outside quotes.";
    OF0610: "wrong length for a raw value",
        "With `'format' = 'raw'` a number has exactly as many bytes as its type: 1 for BOOLEAN and TINYINT, 2 for SMALLINT, 4 \
         for INT and FLOAT, 8 for BIGINT and DOUBLE.";
    OF0611: "the JSON value is not an object",
        "A row is made of a JSON object, or of each object in an array. A number, text or boolean has no fields. To take the \
         whole value as text use `'format' = 'raw'` and one STRING column.";
    OF0612: "the line is longer than the limit",
        "A line (or a CSV record) of a file is longer than `source.line-bytes-max`. It is not held in memory; the dead letter \
         carries its beginning, and the lines after it are read. Raise the option if such lines are meant to be there.";
    OF0613: "the header names other columns",
        "With `'csv.header' = 'true'` the first line of each file has to name the physical columns of the declaration, in their \
         order: CSV fields have no names, so that another order would put values into the wrong columns. Declare the columns as \
         the header names them (odd names in backticks), or write `'csv.ignore-first-line' = 'true'` to leave the line out unread.";
    OF0651: "the format cannot give this type",
        "The format has no reading for the declared type: `json` needs text as the key of a MAP, `csv` has no MAP and only \
         flat ARRAY and ROW, `raw` fills one column of a simple type.";
    OF0652: "the metadata cannot be read as this type",
        "The metadata column is declared with a type that the metadata cannot be converted to. The help names types that fit.";
    OF0653: "too much text for one batch",
        "A column of one batch may hold at most 2 GiB. Lower `epoch.bytes_max` or `epoch.rows_max`.";
}
