/*
 * value.h
 *	  Column values as JSON, the same whatever a session's settings are.
 */
#ifndef SYNCEXT_VALUE_H
#define SYNCEXT_VALUE_H

#include "access/tupdesc.h"
#include "utils/jsonb.h"

/* Names in text are qualified, but for the server's own. */
#define VALUE_SEARCH_PATH	"pg_catalog, pg_temp"

/* How values of a type become JSON; made once and kept with the relation. */
typedef struct ValueType ValueType;

/*
 * The settings (GUCs) that the text of some types depends on, pinned while a row is
 * converted.  value_settings_begin costs nothing: the first value that depends on
 * them pins them.
 */
typedef struct ValueSettings
{
	int			nest_level;		/* 0: the session's own are in force */
} ValueSettings;

extern void value_settings_begin(ValueSettings *settings);
/* Does the text of a value of this type depend on these settings? */
extern bool value_depends_on_gucs(const ValueType *type);
/* May making JSON of a value raise, because jsonb doesn't take what the type does? */
extern bool value_is_fragile(const ValueType *type);
/* Is it of type json itself? */
extern bool value_is_json_text(const ValueType *type);
/* Pin them for making values of text, whose names are qualified: leaves search_path. */
extern void value_pin_input_gucs(ValueSettings *settings);
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
extern bool value_equal(ValueType *type, Datum a, bool a_isnull, Datum b, bool b_isnull);

/* Take a composite value apart, by the attributes of its type. */
extern void value_deform(Datum composite, TupleDesc desc, Datum *values, bool *isnull);

/* Is it of a composite type, or an array? */
extern bool value_has_parts(const ValueType *type);
/*
 * Raises if a value that is to be made of this would lose attributes on the way, as a
 * composite type hasn't them: an edit of the rest would lose them for all.
 */
extern void value_check_attributes(ValueType *type, JsonbValue *json);

#endif							/* SYNCEXT_VALUE_H */
