/*
 * change.h
 *	  A change document: what a source says about one record.
 */
#ifndef SYNCEXT_CHANGE_H
#define SYNCEXT_CHANGE_H

#include "datatype/timestamp.h"
#include "model/fields.h"

/* externalId is at most this many bytes, which leaves room in a btree page */
#define CHANGE_MAX_EXTERNAL_ID	1024
/* and so is changeId */
#define CHANGE_MAX_CHANGE_ID	200
/* versions stay below 2^62, so that "+ 1" can't overflow */
#define CHANGE_MAX_VERSION		((INT64CONST(1) << 62) - 1)

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

typedef struct Change
{
	ChangeOrigin origin;
	const char *entity;
	const char *external_id;
	const char *source;
	const char *change_id;		/* known if it is sent again; NULL: it has none */
	bool		has_version;
	int64		version;
	bool		has_base;
	int64		base;
	bool		has_updated_at;
	TimestampTz updated_at;
	bool		has_if_match;
	int64		if_match;
	bool		deleted;
	bool		created;		/* the source has just made the record */
	bool		cascade;		/* not from a source's document: a foreign key did it, as
								 * another record was delivered.  It has a base */
	bool		from_link;
	bool		if_absent;		/* its fields count where the record hasn't them */
	bool		not_created;	/* it says that it hasn't: "created" is false */
	bool		verbatim;		/* not from a document: a birth's nulls count */
	Fields		fields;			/* empty for a delete */
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
} ChangeLimits;

extern bool change_parse(JsonbContainer *document, const ChangeLimits *limits,
						 Change *change, ChangeError *error);
/* Has the source just made the record, as it says or as base 0 implies? */
extern bool change_is_birth(const Change *change);
/*
 * The change as it counts: a birth has no opinion on what it leaves null.  Returns
 * the change itself or *counted, which shares what they have in common.
 */
extern const Change *change_as_it_counts(const Change *change, Change *counted);
extern bool change_error(ChangeError *error, int sqlerrcode, const char *hint,
						 const char *format,...) pg_attribute_printf(4, 5);
/* The document that says the same, in structured form. */
extern Jsonb *change_document(const Change *change);
/* What a document that isn't an object is told. */
extern bool change_not_object(ChangeError *error);
extern void change_raise(const ChangeError *error);

#endif							/* SYNCEXT_CHANGE_H */
