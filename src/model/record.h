/*
 * record.h
 *	  The golden record in memory, with the provenance (stamp) of each field.
 */
#ifndef SYNCEXT_RECORD_H
#define SYNCEXT_RECORD_H

#include "datatype/timestamp.h"
#include "model/fields.h"
#include "model/life.h"

/*
 * Which source confirmed a field's value last, at which version; and which gave it
 * this value, in which row version, at what time by its own clock (if it said so).
 * doc/ladder.md, "The record", has the rules.
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

typedef struct RecordKey
{
	const char *entity;
	const char *external_id;
} RecordKey;

typedef struct Record
{
	bool		exists;
	int64		version;
	int64		row_version;
	int64		floor;			/* row versions up to this one may be known of an earlier life
								 * that is forgotten, if it doesn't exist, or of a time
								 * that the hub has lost */
	const char *last_source;
	bool		deleted;
	bool		has_updated_at;
	TimestampTz updated_at;
	const Life *life;			/* of a field ladder; NULL: as record_life() says */
	int			nfields;
	RecordField *fields;		/* in jsonb's key order */
} Record;

/* The row version that the next write gives it, whether or not it is there. */
extern int64 record_next_row_version(const Record *record);
extern const char *record_set_fields(Record *record, Jsonb *fields, Jsonb *stamps);
/*
 * Which fields were set after a row version, of a record as it is stored, whose other members
 * are set; and room for more names.  False: it is all of them, or a stamp is none.
 */
extern bool record_set_since(const Record *record, Jsonb *fields, Jsonb *stamps, int64 since,
							 int more, FieldNames *names);
extern RecordField *record_find(const Record *record, FieldName name);
/* The record's fields, all or those of the names. */
extern Fields record_fields(const Record *record, const FieldNames *names);
extern Jsonb *record_fields_jsonb(const Record *record);
/* Those of the fields that aren't null and that the record doesn't have. */
extern Fields record_missing(const Record *record, const Fields *fields);
/* Give the record these fields, without provenance. */
extern void record_take_fields(Record *record, const Fields *fields);
extern Jsonb *record_stamps_jsonb(const Record *record);
/*
 * Give the record another version, as its next row version; no field is vouched for at a
 * version that the record hasn't come to.
 */
extern void record_set_version(Record *record, int64 version);
/* The record's life; where none is kept, all that is known is its own stamp. */
extern Life record_life(const Record *record);
/* The life as it is stored; NULL where none is kept. */
extern Jsonb *record_life_jsonb(const Record *record);

#endif							/* SYNCEXT_RECORD_H */
