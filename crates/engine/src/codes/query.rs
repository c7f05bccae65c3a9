//! Codes of queries: what a text asks for that does not exist, does not fit, or needs operator state; and what a record does
//! to an expression while the pipeline runs (from OF0360 on).

codes! {
    OF0301: "unknown table",
        "A query names a table or a view that the text does not declare before it. Names are compared exactly, as in Flink: \
         upper and lower case differ.";
    OF0302: "unknown column",
        "A query names a column that none of its tables has. Names are compared exactly, as in Flink: upper and lower case \
         differ. A field of a ROW column is written `column.field`, an element of a MAP `column['key']`.";
    OF0303: "ambiguous column",
        "More than one table of the query has a column of this name. Write the table's name before it: `orders.id`.";
    OF0304: "unknown function",
        "No function of this name is known. `docs/functions.md` lists all of them with Flink's names.";
    OF0305: "an expression's types do not fit",
        "An operator or a function got arguments of types that it does not take. Write the conversion: `CAST(x AS BIGINT)`, or \
         `TRY_CAST(x AS BIGINT)` where a value that cannot be converted is to become NULL.";
    OF0306: "a query that is not supported",
        "The query is valid SQL, but uses a clause or a form that Onceflow does not have.";
    OF0310: "a join needs operator state",
        "Joining two streams means remembering the rows of both sides until a partner comes. Onceflow does not keep operator \
         state yet, and refuses rather than join only what happens to be in memory. Write both streams to tables of one \
         database (one transaction per epoch) and join them there with a view. `CROSS JOIN UNNEST(array)` and joins with \
         `VALUES` need no state and work.";
    OF0311: "a window needs operator state",
        "TUMBLE, HOP, CUMULATE and SESSION collect rows until event time has passed the window's end. Onceflow does not keep \
         operator state yet. Group by the start of the window instead and merge into the table: \
         `SELECT FLOOR(ts TO HOUR), COUNT(*) … GROUP BY FLOOR(ts TO HOUR)` with `'merge.n' = 'sum'`: late rows then count too.";
    OF0312: "OVER needs operator state",
        "An OVER aggregate looks at earlier rows of the stream. Onceflow does not keep operator state yet. Compute it in the \
         database, over the table that the rows are written to.";
    OF0313: "DISTINCT needs operator state",
        "To know that a row is new, all rows before it must be remembered. Let the table remember them: declare a primary key \
         over the columns and write with `'write.mode' = 'insert-ignore'` or as an upsert.";
    OF0314: "ORDER BY and LIMIT have no end to wait for",
        "A stream has no last row, so that its rows cannot be sorted or limited. Sort and limit where the table is read.";
    OF0315: "GROUP BY into a table that does not merge",
        "Each epoch sees only its own records; a total over all of them needs operator state, or a table that adds up. Declare \
         how each column is combined: `'merge.total' = 'sum'`. Each addition happens exactly once, because the ledger moves in \
         the same transaction.";
    OF0316: "a condition on groups needs operator state",
        "HAVING (or WHERE over a grouped query) asks for totals over all records; an epoch only knows its own. Write all groups \
         to the table and put the condition into a view over it.";
    OF0317: "an aggregate does not fit how its column is merged",
        "Partial results of one epoch are combined with what the table holds. COUNT and SUM fit `sum`, MIN `min`, MAX `max`, \
         BOOL_OR `or`, BOOL_AND `and`, FIRST_VALUE `first`, LAST_VALUE `last`. AVG fits none: keep a sum and a count and divide \
         where the table is read.";
    OF0318: "a set operation needs operator state",
        "UNION without ALL, INTERSECT and EXCEPT compare each row with all rows before it. Write UNION ALL, and let a primary key \
         with `'write.mode' = 'insert-ignore'` remove duplicates.";
    OF0319: "a subquery over a stream needs operator state",
        "A subquery over a table would have to be answered anew with each record. Subqueries over constants, such as \
         `IN (SELECT x FROM (VALUES (1), (2)) AS t(x))`, work.";
    OF0320: "WITH RECURSIVE is not supported",
        "A recursive query over a stream has no end. Ordinary WITH works.";
    OF0321: "MATCH_RECOGNIZE needs operator state",
        "Patterns over several rows need the rows before. Onceflow does not keep operator state yet.";
    OF0322: "event time is not supported",
        "PROCTIME, CURRENT_WATERMARK and time attributes drive windows and timers, which need operator state. \
         CURRENT_TIMESTAMP gives the time of the epoch, and a record's own timestamp is a metadata column.";
    OF0323: "the groups are not the table's primary key",
        "A grouped query writes one row for each group, and the table has one row for each key: the columns of the key must be \
         exactly the GROUP BY expressions (constants aside).";
    OF0324: "a query without a source",
        "Rows that come from no record have no position that the ledger could remember them by, so that they could not be \
         written exactly once. Insert constants with the database's own tools.";
    OF0325: "a grouped result is used further",
        "The result of a GROUP BY without state holds only one epoch's part, which the table combines. It can be renamed, and \
         united with UNION ALL, but not be computed with: that would compute with parts instead of totals. Compute where the \
         table is read.";
    OF0330: "another number of columns than the table has",
        "INSERT INTO matches columns by position, as in Flink. Name the columns to write some of them: `INSERT INTO t (a, b) \
         SELECT …`; the others become NULL.";
    OF0331: "a column's type does not fit the table's",
        "Values are converted by themselves only where Flink does it too: to a wider integer, between decimals, to FLOAT and \
         DOUBLE, between precisions of timestamps. Everything else is written down: `CAST(x AS BIGINT)`.";
    OF0332: "the column list does not fit the table",
        "The list after INSERT INTO names a column that the table does not have, or one twice.";
    OF0333: "a column of the table is left out",
        "Columns that are not in the list become NULL, which this one must not be: it is NOT NULL or part of the primary key.";
    OF0334: "the table cannot be written to",
        "INSERT INTO names a table that is not declared, or whose connector cannot be written to.";
    OF0335: "values are rounded",
        "The table's column has fewer digits after the point than the query's. Values are rounded half up, as in Flink. Write \
         `CAST(x AS DECIMAL(p, s))` or `ROUND(x, s)` to say so, or declare more digits.";
    OF0336: "the result depends on more than the records",
        "CURRENT_TIMESTAMP, NOW(), RAND(), UUID() and their like are taken once per epoch and recorded in it. The rows are still \
         written exactly once; a replay from other positions would give others.";
    OF0340: "a pattern is not supported",
        "Date patterns are Java's: `yyyy-MM-dd HH:mm:ss.SSS`, with y, M, d, H, h, m, s, S, a, E, D and quoted text. Regular \
         expressions have no look-around and no back-references.";
    OF0341: "a JSON path is not supported",
        "Paths are simple: `$`, `.name`, `['name']`, `[0]`, with an optional `lax` or `strict` before them.";
    OF0342: "a pattern must be a constant",
        "LIKE with ESCAPE and SIMILAR TO are translated once, when the pipeline starts, so that the pattern must be a literal.";
    OF0343: "a conversion that Flink does not have either",
        "Numbers and timestamps are not cast into each other: which unit would it be? Use TO_TIMESTAMP_LTZ(number, 0 or 3), \
         and UNIX_TIMESTAMP or EXTRACT for the other direction.";
    OF0360: "a value cannot be converted",
        "CAST met a value of the record that has no meaning in the target type. The record takes no effect in any table; its \
         neighbours are unharmed. TRY_CAST gives NULL instead.";
    OF0361: "a number is too large for its type",
        "Arithmetic over integers and decimals is exact; a result that does not fit its type is refused instead of wrapping \
         around, as Flink's would. Use a wider type: `CAST(x AS BIGINT)`, `CAST(x AS DECIMAL(38, 2))`.";
    OF0362: "division by zero",
        "The record's divisor is zero. Write `NULLIF(divisor, 0)` to get NULL, or a CASE.";
    OF0363: "an expression cannot be evaluated for a record",
        "A function refused the record's values. The record takes no effect in any table; its neighbours are unharmed.";
    OF0364: "NULL for a column that must not be NULL",
        "The column is declared NOT NULL or is part of the primary key, and the record gives NULL. Filter such records with \
         `WHERE x IS NOT NULL`, or give a value with COALESCE.";
    OF0365: "a value does not fit its column",
        "The record's value does not fit the declared type of the table's column, for example a DECIMAL(12, 2) with more than ten \
         digits before the point.";
    OF0366: "a total does not fit its column",
        "The records of one epoch add up to more than the column's type can hold. The records from which on it does not fit are \
         refused; declare a wider type.";
}
