/*
 * attached.h
 *	  An attached relation as capture and delivery see it: which column is
 *	  which field, and how rows become external ids and fields and back.
 *
 * Cached in the backend for each relation, a partition on its own; what was
 * handed out stays valid until the end of the transaction.  Rows are arrays of
 * values and nulls, indexed by attribute number - 1.
 */
#ifndef SYNCEXT_ATTACHED_H
#define SYNCEXT_ATTACHED_H

#include "access/attnum.h"
#include "fmgr.h"
#include "storage/itemptr.h"

#include "local/value.h"
#include "model/fields.h"
#include "storage/binding.h"

typedef struct AttachedColumn
{
	FieldName	field;			/* no data: the column is no field */
	const char *name;
	AttrNumber	attnum;
	Oid			type;
	bool		not_null;
	ValueType  *value;
} AttachedColumn;

typedef struct Attached
{
	MemoryContext context;		/* all of it is in here */
	Oid			relid;			/* the bound relation, or a partition of it */
	const Binding *binding;
	const char *name;			/* qualified and quoted */
	char		relkind;
	Oid			owner;
	bool		has_key_index;	/* its primary key is what rows are told by */
	bool		has_triggers;	/* that may change what is written, or rules */
	Oid			row_type;
	int			natts;
	AttrNumber	last_attnum;	/* no column that matters is behind it */
	int			nkeys;
	AttachedColumn *keys;		/* in the order of the external id */
	int			ncolumns;
	AttachedColumn *columns;	/* the fields, in jsonb's key order */
	AttachedColumn *version;	/* or NULL */
	AttachedColumn *updated;	/* or NULL */
	AttachedColumn *deleted;	/* marks rows as deleted, or NULL */
	int			nread;
	const AttachedColumn **read;	/* all of these, as statements return them */
	bool		heeds_settings; /* one of them: value_heeds_settings */
	FmgrInfo	populate;		/* jsonb_populate_record */
	Datum		empty_row;		/* its first argument */
	List	   *statements;		/* writer.c's prepared statements */
} Attached;

/* A row of an attached relation. */
typedef struct AttachedRow
{
	Datum	   *values;
	bool	   *isnull;
	ItemPointerData at;			/* of one that writer_lock has locked in a table */
} AttachedRow;

/* The trigger function syncext.capture(). */
extern Oid	attached_capture_function(void);

/* NULL if neither the relation nor one it is a partition of is attached. */
extern Attached *attached_get(Oid relid);
/* The same, but raises. */
extern Attached *attached_required(Oid relid);

extern AttachedRow attached_row_make(const Attached *attached);
extern Datum attached_value(const AttachedColumn *column, AttachedRow row, bool *isnull);

/* Does the row's own column mark it as deleted? */
extern bool attached_is_deleted(const Attached *attached, AttachedRow row);

/* "ONLY " for a table: children by plain inheritance are relations of their own. */
extern const char *attached_only(const Attached *attached);

/* NULL, and why, where a key is null, or the id empty or too long. */
extern char *attached_find_external_id(const Attached *attached, ValueSettings *settings,
									   AttachedRow row, const char **problem);
/* The same, but raises. */
extern char *attached_external_id(const Attached *attached, ValueSettings *settings,
								  AttachedRow row);
extern bool attached_key_equal(const Attached *attached, ValueSettings *settings,
							   AttachedRow a, AttachedRow b);
/* The texts of the key columns; raises if there are more or fewer of them. */
extern char **attached_split_external_id(const Attached *attached, const char *external_id);

/* The fields of a row; those for which wanted is true, all if it is NULL. */
extern void attached_fields(const Attached *attached, ValueSettings *settings,
							AttachedRow row, const bool *wanted, Fields *out);

/* Make a row of an object {column: value}; what it doesn't name is null. */
extern AttachedRow attached_populate(Attached *attached, ValueSettings *settings,
									 Jsonb *object);

#endif							/* SYNCEXT_ATTACHED_H */
