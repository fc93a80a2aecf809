/*
 * change.h
 *	  A change document: what a source says about one record.
 */
#ifndef SYNCEXT_CHANGE_H
#define SYNCEXT_CHANGE_H

#include "datatype/timestamp.h"
#include "model/fields.h"
#include "model/life.h"

/* externalId is at most this many bytes, which leaves room in a btree page; so is sourceId */
#define CHANGE_MAX_EXTERNAL_ID	1024
/* and so is changeId */
#define CHANGE_MAX_CHANGE_ID	200
/* A spoke may not take a record's row versions so far that few are left. */
#define CHANGE_MAX_RECOVERED	(INT64CONST(1) << 52)

/*
 * How a change came to be.  A document says all about itself.  The others are of
 * rows that were edited, and count as model/row_change says.
 */
typedef enum ChangeOrigin
{
	ORIGIN_DOCUMENT,
	ORIGIN_INSERT,				/* the row is new; base may tell of an earlier one */
	ORIGIN_EDIT					/* it was there, though base be 0: nothing was delivered yet */
} ChangeOrigin;

/* What a birth leaves empty, beside null: of a field, values in an array. */
typedef struct EmptyValues
{
	FieldName	field;
	JsonbContainer *values;
} EmptyValues;

typedef struct Change
{
	ChangeOrigin origin;
	const char *entity;
	const char *external_id;	/* "" until the record is found by source_id */
	const char *source_id;		/* its source's own key of the record, or NULL */
	bool		by_source_id;	/* the document names its record by that alone */
	const char *source;
	const char *change_id;		/* known if it is sent again; NULL: it has none */
	bool		has_version;
	int64		version;
	bool		has_base;
	int64		base;
	bool		has_updated_at;
	TimestampTz updated_at;
	int64		ahead;			/* set by the hub, where it has bounded updated_at by its own clock: by
								 * how many seconds that had been ahead; 0: it hasn't */
	bool		has_if_match;
	int64		if_match;
	bool		deleted;
	bool		created;		/* the source has just made the record */
	bool		cascade;		/* not from a source's document: a foreign key did it, as
								 * another record was delivered.  It has a base */
	bool		from_link;
	bool		if_absent;		/* its fields count where the record hasn't them */
	bool		not_created;	/* it says that it hasn't: "created" is false */
	const char *matched_by;		/* the match rule that has found its record; NULL: none */
	bool		split;			/* its record was a part of another, that a steward has split */
	const char *alias;			/* of its record, that it came under: one that was merged into the
								 * record, or a key that deliveries don't go to; NULL: none */
	int64		alias_merge;	/* by which it was; 0: it is a key */
	bool		takes_over;		/* it came under a duplicate key, which deliveries go to from now on */
	bool		refers_anew;	/* it names another record than it came with, that is a part of that */
	const char *awaited_entity;	/* the change refers to a record of this by a key of its source's */
	const char *awaited_key;	/* that isn't bound yet; NULL: none such */
	Fields		sent_fields;	/* before keys in them were translated, if they were */
	bool		verbatim;		/* not from a document: a birth's nulls count */
	int64		recovered;		/* from a link, after the hub has gone back in time: the
								 * row version that the record had when it was as this
								 * leaves it; 0: it is no such change */
	int64		recovered_epoch;	/* the hub's epoch that had it */
	int			nempty;			/* set by the hub: of these fields more than null is empty */
	const EmptyValues *empty;
	LifeStamp	known;			/* of the record as it was last delivered to the source */
	const struct FieldState *state; /* from a relay, of a field ladder: the record as the hub
								 * there has it, which is what counts; or NULL */
	Fields		fields;			/* empty for a delete */
	Fields		increments;		/* numbers to be added to these fields; mostly none */
	Jsonb	   *counted;		/* from a link, in place of increments: how much its table has
								 * added to the record in all, as model/counts has it; or NULL */
	bool		baseline;		/* and the record has all of that already */
	Fields		totals;			/* of an edited row: what it holds of these fields then, which
								 * counts where the record hasn't the field */
	const Field *sent;			/* fields.field, as long as they are just those of ... */
	JsonbValue	sent_object;	/* ... the document's member "fields" */
} Change;

/* Why a document was refused; a batch answers it, a single call raises it. */
typedef struct ChangeError
{
	int			sqlerrcode;
	char	   *message;
	char	   *hint;			/* may be NULL */
} ChangeError;

/* What a document may hold at most (syncext.max_fields). */
typedef struct ChangeLimits
{
	int			max_fields;
	bool		own;			/* a document that syncext has made itself */
	bool		recovers;		/* it may say what this hub has lost */
	bool		parked;			/* change_parked() has made it */
} ChangeLimits;

extern bool change_parse(JsonbContainer *document, const ChangeLimits *limits,
						 Change *change, ChangeError *error);
/* Has the source just made the record, as it says or as base 0 implies? */
extern bool change_is_birth(const Change *change);
/*
 * The change as it counts: a birth has no opinion on what it leaves empty.  Returns
 * the change itself or *counted, which shares what they have in common.
 */
extern const Change *change_as_it_counts(const Change *change, Change *counted);
extern bool change_error(ChangeError *error, int sqlerrcode, const char *hint,
						 const char *format,...) pg_attribute_printf(4, 5);
/* The fields that it names, to set them or to add to them. */
extern Fields change_named(const Change *change);
/* Does the change do nothing but add?  Then it needs neither version nor base nor time. */
extern bool change_only_adds(const Change *change);
/* The fields as an object. */
extern Jsonb *change_fields_jsonb(const Change *change);
/* The document that says the same, in structured form. */
extern Jsonb *change_document(const Change *change);
/* The same, with how it came to be, for when it is read again here. */
extern Jsonb *change_parked(const Change *change);
/* The document as text, which is appended. */
extern void change_text(const Change *change, StringInfo text);
/* What it says of what was known, for a log or another document. */
extern Jsonb *change_known_document(const Change *change);
/* What a document that isn't an object is told. */
extern bool change_not_object(ChangeError *error);
extern void change_raise(const ChangeError *error);

#endif							/* SYNCEXT_CHANGE_H */
