/**
 * Whether a statement only reads, judged by its text.
 *
 * A statement that contains a word that writes, or calls any function but the built-in ones that only compute, counts
 * as writing. The text is not parsed, because dialects disagree on the end of a string: words in strings and comments
 * count too.
 */
export const isReadOnly = (text: string): boolean => {
  const start = reads.exec(text)
  return start !== null && !mayWrite.test(text) && onlyComputes(text.slice(start[0].length))
}

/** Whether a statement begins like a query. It may still call a function that writes, and may have a large result. */
export const returnsRows = (text: string): boolean => reads.test(text)

/** Whether a statement returns no rows except the count of its changes. */
export const writes = (text: string): boolean => changes.test(text)

// Only comments that end alike in all dialects: not nested, and no line that a backslash continues.
const comment = /--[^\\\r\n]*\r?\n|\/\*(?:(?!\/\*|\*\/)[^])*\*\//

const begins = (words: string) => new RegExp(`^(?:\\s|\\(|${comment.source})*(?:${words})\\b`, "i")

const reads = begins("SELECT|WITH|VALUES|TABLE|FROM|SHOW|DESCRIBE|DESC|EXPLAIN")

// Words that write after those (`WITH … INSERT`, `FROM … INSERT`, `SELECT … INTO`, `EXPLAIN ANALYZE …`), and the start
// of another statement.
const mayWrite = /\b(?:INSERT|INTO|UPDATE|DELETE|MERGE|ANALY[SZ]E)\b|;(?!\s*$)/i

const changes = begins(
  "INSERT|UPDATE|DELETE|MERGE|COPY|TRUNCATE|CREATE|REPLACE|ALTER|DROP|GRANT|REVOKE|COMMENT|USE|ANALYZE|REFRESH|MSCK"
)

const onlyComputes = (text: string): boolean => {
  const calls = text.replaceAll(columnsOfTable, " ").replaceAll(columnsOfAlias, " ")
  if (unnamed.test(calls)) return false
  for (const [, name = "", parenthesis] of calls.matchAll(named)) {
    if (parenthesis === "(" && !computing.has(name.toLowerCase())) return false
  }
  return true
}

// `t(a, b) AS (SELECT …`
const columnsOfTable = /(?<![\w$])[\w$]+\s*\([\w\s,$]*\)(?=\s*AS\s*\(\s*(?:SELECT|WITH|VALUES|TABLE|FROM|\())/gi

// `… AS t(a, b)` and `(…) t(a, b)`, within one line, so that no comment can interrupt it.
const columnsOfAlias = /(?<=\bAS[ \t]+|\)[ \t]*)[a-z_$][\w$]*[ \t]*\([\w\s,$]*\)/gi

// A call with a comment before its parenthesis, or of the value of a call: `IDENTIFIER(…)(…)`.
const unnamed = /(?:\)|\*\/|(?<!-)--[^\r\n]*[\r\n]+)\s*\(/

// Includes catalog, schema and quotes, if present: a name with any of them is not a built-in function's.
const named = /([^\s(),;=<>+*/%|&^~!?@{}:-]+)\s*(\(?)/g

/** The names allowed before a parenthesis: functions that only compute, words of SQL, and types. */
const computing: ReadonlySet<string> = new Set(
  `all and any array as asof between bigint binary boolean by case cast char cluster cross cube date decimal distinct
  distribute double else except exists extract filter first float from full group grouping having identifier in inner
  int integer intersect interval is join lateral left like ilike limit long map minus natural not numeric offset on or
  order outer over partition pivot range real right rlike rollup row rows select semi anti sets smallint some sort
  string struct table tablesample then timestamp tinyint try_cast union unpivot using values varchar view when where
  window with within
  approx_count_distinct approx_percentile array_agg avg any_value bit_and bit_or bit_xor bool_and bool_or collect_list
  collect_set corr count count_if count_min_sketch covar_pop covar_samp every first_value grouping_id histogram_numeric
  kurtosis last last_value listagg max max_by mean measure median min min_by mode percentile percentile_approx
  percentile_cont percentile_disc regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy
  regr_syy skewness std stddev stddev_pop stddev_samp string_agg sum try_avg try_sum var_pop var_samp variance
  cume_dist dense_rank lag lead nth_value ntile percent_rank rank row_number
  abs acos acosh asin asinh atan atan2 atanh bin bround cbrt ceil ceiling conv cos cosh cot csc degrees div e exp expm1
  factorial floor gcd greatest hex hypot isnan lcm least ln log log10 log1p log2 mod negative nullif pi pmod positive pow
  power radians rand randn random rint round sec shiftleft shiftright sign signum sin sinh sqrt tan tanh trunc
  try_add try_divide try_mod try_multiply try_subtract unhex uniform width_bucket
  ascii base64 bit_length btrim char_length character_length charindex chr concat concat_ws contains crc32 decode encode
  elt endswith find_in_set format format_number format_string initcap instr lcase left length len levenshtein locate lower
  lpad ltrim luhn_check mask md5 octet_length overlay position printf quote_literal regexp_count regexp_extract
  regexp_extract_all regexp_instr regexp_like regexp_replace regexp_substr repeat replace reverse right rpad rtrim sentences
  sha sha1 sha2 sha256 soundex space split split_part startswith strpos substr substring substring_index to_char to_hex
  to_varchar translate trim ucase unbase64 upper url_decode url_encode uuid
  add_months convert_timezone curdate current_date current_timestamp current_timezone date_add date_bin date_diff
  date_format date_from_unix_date date_part date_sub date_trunc dateadd datediff day dayname dayofmonth dayofweek dayofyear
  from_unixtime from_utc_timestamp getdate hour last_day localtimestamp make_date make_interval make_timestamp minute month
  monthname months_between next_day now quarter second timediff timestampadd timestampdiff timestamp_micros timestamp_millis
  timestamp_seconds to_date to_timestamp to_unix_timestamp to_utc_timestamp try_to_timestamp unix_date unix_micros
  unix_millis unix_seconds unix_timestamp weekday weekofyear year
  aggregate array_append array_compact array_contains array_distinct array_except array_insert array_intersect array_join
  array_length array_max array_min array_position array_prepend array_remove array_repeat array_size array_sort array_to_string
  array_union arrays_overlap arrays_zip cardinality element_at exists explode explode_outer filter flatten forall
  generate_series get inline inline_outer map_concat map_contains_key map_entries map_filter map_from_arrays
  map_from_entries map_keys map_values map_zip_with named_struct posexplode posexplode_outer reduce sequence shuffle size
  slice sort_array stack str_to_map transform transform_keys transform_values try_element_at unnest zip_with
  from_csv from_json from_xml get_json_object is_variant_null json_array_length json_object_keys json_tuple parse_json
  parse_url schema_of_json schema_of_variant to_csv to_json to_variant_object try_parse_json try_variant_get variant_explode
  variant_get xpath xpath_string json_agg json_build_object jsonb_agg jsonb_build_object to_jsonb row_to_json
  assert_true coalesce current_catalog current_database current_metastore current_schema current_user decode equal_null hash
  if ifnull iff is_account_group_member is_member isnotnull isnull nanvl nvl nvl2 raise_error session_user try_to_number
  to_number typeof user version xxhash64 zeroifnull
  h3_longlatash3 h3_latlngtocell st_astext st_area st_contains st_distance st_geogfromtext st_geomfromtext st_intersects
  st_point st_within st_x st_y`
    .trim()
    .split(/\s+/)
)
