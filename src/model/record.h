/*
 * record.h
 *	  The golden record in memory, with the provenance (stamp) of each field.
 */
#ifndef SYNCEXT_RECORD_H
#define SYNCEXT_RECORD_H

#include "datatype/timestamp.h"
#include "model/fields.h"

/*
 * Who vouches for a field's value at which version, and who gave it this value
 * in which row version, at what time by the source's own clock (if it said so).
 * LADDER.md, "The record", has the rules.
 */
typedef struct Stamp
{
	int64		version;
	const char *source;
	int64		row_version;
	const char *set_by;
	bool		has_updated_at;
	TimestampTz updated_at;
} Stamp;

typedef struct RecordField
{
	Field		field;
	Stamp		stamp;
} RecordField;

typedef struct Record
{
	bool		exists;
	int64		version;
	int64		row_version;
	int64		floor;			/* if it doesn't exist: row versions up to this one may be
								 * known of an earlier life that is forgotten */
	const char *last_source;
	bool		deleted;
	bool		has_updated_at;
	TimestampTz updated_at;
	int			nfields;
	RecordField *fields;		/* in jsonb's key order */
} Record;

/* The row version that the next write gives it, whether or not it is there. */
extern int64 record_next_row_version(const Record *record);
extern const char *record_set_fields(Record *record, Jsonb *fields, Jsonb *stamps);
extern RecordField *record_find(const Record *record, FieldName name);
extern Jsonb *record_fields_jsonb(const Record *record);
extern Jsonb *record_stamps_jsonb(const Record *record);

#endif							/* SYNCEXT_RECORD_H */
