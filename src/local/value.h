/*
 * value.h
 *	  Column values as JSON, the same whatever a session's settings are.
 */
#ifndef SYNCEXT_VALUE_H
#define SYNCEXT_VALUE_H

#include "utils/jsonb.h"

/* Names in text are qualified, but for the server's own. */
#define VALUE_SEARCH_PATH	"pg_catalog, pg_temp"

/* How values of a type become JSON; made once and kept with the relation. */
typedef struct ValueType ValueType;

/*
 * The settings that some types' text depends on, fixed as long as a row is
 * converted.  Begin costs nothing: the first value that needs them sets them.
 */
typedef struct ValueSettings
{
	int			nest_level;		/* 0: the session's own are in force */
} ValueSettings;

extern void value_settings_begin(ValueSettings *settings);
/* Does the text of a value depend on them? */
extern bool value_heeds_settings(const ValueType *type);
/* May making JSON of a value raise, because jsonb doesn't take what the type does? */
extern bool value_is_fragile(const ValueType *type);
/* Is it of type json itself? */
extern bool value_is_json_text(const ValueType *type);
extern void value_settings_fix(ValueSettings *settings);
/* For making values of text: the names in it say all, so search_path stays as it is. */
extern void value_settings_fix_input(ValueSettings *settings);
extern void value_settings_end(ValueSettings *settings);

/* Make a ValueType in the current memory context. */
extern ValueType *value_type(Oid type, int32 typmod);

/* The result may point into the value. */
extern void value_to_json(ValueType *type, ValueSettings *settings,
						  Datum value, bool isnull, JsonbValue *json);
extern char *value_to_text(ValueType *type, ValueSettings *settings, Datum value);

/* The type's own null; false if it has none. */
extern bool value_json_null(const ValueType *type, Datum *value);
extern Datum value_copy(const ValueType *type, Datum value);

extern bool value_same_bytes(const ValueType *type, Datum a, Datum b);
/* Are two values the same to the hub, though their bytes may differ? */
extern bool value_equal(ValueType *type, ValueSettings *settings,
						Datum a, bool a_isnull, Datum b, bool b_isnull);

/* Is it of a composite type, or an array? */
extern bool value_has_parts(const ValueType *type);
/*
 * Raises if a value that is to be made of this would lose attributes on the way, as a
 * composite type hasn't them: an edit of the rest would lose them for all.
 */
extern void value_check_attributes(ValueType *type, JsonbValue *json);

#endif							/* SYNCEXT_VALUE_H */
