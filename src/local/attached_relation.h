/*
 * attached_relation.h
 *	  An attached relation as capture and delivery see it: which column is
 *	  which field, and how rows become external ids and fields and back.
 *
 * Cached in the backend for each relation, a partition on its own.  It is handed
 * out under a lock on the relation that is kept until the end of the transaction,
 * so no other session can alter the relation while it is used.  Code of the table
 * that runs in this session could: a caller that runs such code keeps the relation open
 * meanwhile, which makes ALTER TABLE fail, or else asks again afterwards.
 * Rows are arrays of values and nulls, indexed by attribute number - 1.
 */
#ifndef SYNCEXT_ATTACHED_RELATION_H
#define SYNCEXT_ATTACHED_RELATION_H

#include "access/attnum.h"
#include "access/tupdesc.h"
#include "fmgr.h"
#include "nodes/bitmapset.h"
#include "storage/itemptr.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"

#include "compat.h"
#include "local/value.h"
#include "local/value_input.h"
#include "model/fields.h"
#include "storage/binding.h"

typedef struct AttachedColumn
{
	FieldName	field;			/* no data: the column is no field */
	const char *name;
	AttrNumber	attnum;
	Oid			type;
	bool		not_null;
	bool		is_new;			/* a field that came when the relation had been loaded */
	bool		is_again;		/* as another column of its name, which was dropped */
	ValueType  *value;
	ValueInput *input;			/* NULL: its values are made by jsonb_populate_record */
} AttachedColumn;

typedef struct Attached
{
	MemoryContext context;		/* all of it is in here */
	uint64		id;				/* no other description has it */
	Oid			relid;			/* the bound relation, or a partition of it */
	const Binding *binding;
	const char *problem;		/* why it can't be synchronized, or NULL */
	bool		may_send;		/* the role that attached it may still act as the
								 * source */
	bool		has_key;		/* it has all of the key's columns */
	const char *name;			/* qualified and quoted */
	char		relkind;
	Oid			owner;
	bool		has_key_index;	/* its primary key is what rows are told by */
	bool		deferrable;		/* it has constraints that can be deferred, or may have */
	bool		has_triggers;	/* that may change what is written, or rules */
	bool		looked_at_inserts;	/* row_together.c has set these: */
	bool		plain_inserts;	/* what is inserted is stored as it is, and runs no code */
	Bitmapset  *filled_columns; /* something is put into them where they aren't written */
	bool		reads_quietly;	/* to read rows, or make them of JSON, runs no code of users */
	bool		runs_code;		/* after a row's capture, before the statement's next one */
	Oid			row_type;
	TupleDesc	desc;			/* of the relation's rows */
	int			natts;
	AttrNumber	last_attnum;	/* no column that matters is behind it */
	int			nkeys;
	AttachedColumn *keys;		/* in the order of the external id */
	int			ncolumns;
	AttachedColumn *columns;	/* the fields, in jsonb's key order */
	const AttachedColumn **in_table_order;	/* the same */
	AttachedColumn *version;	/* or NULL */
	AttachedColumn *updated;	/* or NULL */
	AttachedColumn *deleted;	/* marks rows as deleted, or NULL */
	AttachedColumn *external_id;	/* holds the record's id, where the key is the relation's own; or NULL */
	List	   *key_defaults;	/* what fills the key's columns, of Node *; NIL: not all are filled */
	bool		looked_at_defaults; /* draw_key.c has set these: */
	struct ExprContext *key_context;	/* NULL: they may run code of the owner's */
	List	   *key_states;		/* of ExprState *, else */
	int			nread;
	const AttachedColumn **read;	/* all of these, as statements return them */
	bool		fragile;		/* one of them: value_is_fragile */
	bool		depends_on_gucs; /* one of them: value_depends_on_gucs */
	FmgrInfo	populate;		/* jsonb_populate_record */
	Datum		empty_row;		/* its first argument */
	List	   *statements;		/* writer.c's prepared statements */
	List	   *watched;		/* relations whose change outdates it, beside its own */
} Attached;

/* A row of an attached relation. */
typedef struct AttachedRow
{
	Datum	   *values;
	bool	   *isnull;
} AttachedRow;

/* Columns that say more of a row than fields do. */
typedef enum SpecialColumn
{
	SPECIAL_VERSION,
	SPECIAL_UPDATED,
	SPECIAL_DELETED,
	SPECIAL_EXTERNAL_ID
} SpecialColumn;

/* Can one be of this type? */
extern bool special_column_takes(SpecialColumn which, Oid type);

/* No field's name: in priorities and conflicts it stands for the whole record. */
#define WHOLE_RECORD	"*"

/* The trigger function syncext.capture(). */
extern Oid	attached_capture_function(void);

/*
 * Describe a relation that the caller has open and locked.  NULL if neither it nor
 * one that it is a partition of is attached.  The description may have a problem,
 * and is good for what doesn't need the missing columns then.
 */
extern Attached *attached_of(Relation rel);
/* Like attached_of(), but lock the relation first; NULL, too, if it is gone. */
extern Attached *attached_open(Oid relid, LOCKMODE lockmode);
/* Like attached_open(), but raise where there is none, or one with a problem. */
extern Attached *attached_required(Oid relid, LOCKMODE lockmode);
/* Raise if the description has a problem. */
extern void attached_check(const Attached *attached);
/* Raise if edits of the relation may not be sent any more. */
extern void attached_check_sender(const Attached *attached);

/*
 * Raise 40001 if a column that statements return, number i of attached->read, isn't
 * of this type: the relation was altered.
 */
extern void attached_check_type(const Attached *attached, int i, Oid type);
/* Like attached_check_type(), for all columns of a row of the relation's own. */
extern void attached_check_desc(const Attached *attached, TupleDesc desc);
/*
 * Call it after code of the table has run, unless the relation was kept open: raises
 * 40001 if it was altered.
 */
extern void attached_recheck(const Attached *attached);
pg_noreturn extern void attached_raise_altered(const Attached *attached);

/* Is the column of that number one of the key's? */
extern bool attached_is_key(const Attached *attached, int attnum);
/* The column of that number that is a field; NULL: it is none. */
extern const AttachedColumn *attached_column(const Attached *attached, int attnum);

extern AttachedRow attached_row_make(const Attached *attached);
extern Datum attached_value(const AttachedColumn *column, AttachedRow row, bool *isnull);

/* Does the row's own column mark it as deleted? */
extern bool attached_is_deleted(const Attached *attached, AttachedRow row);

/* Has such a relation rows of its own, that can be locked?  A view or foreign table hasn't. */
extern bool relkind_has_rows(char relkind);
/* "ONLY " for a table: children by plain inheritance are relations of their own. */
extern const char *attached_only(const Attached *attached);

/* Raises where a key is null, or the id empty or too long. */
extern char *attached_external_id(const Attached *attached, AttachedRow row);
/* Like attached_external_id(), but returns NULL, and why. */
extern char *attached_try_external_id(const Attached *attached, AttachedRow row,
									  const char **problem);
/* The same with settings that are pinned for many rows. */
extern char *attached_find_external_id(const Attached *attached, ValueSettings *settings,
									   AttachedRow row, const char **problem);
extern bool attached_key_equal(const Attached *attached, AttachedRow a, AttachedRow b);
/* The id that these n texts of key columns make. */
extern char *attached_join_external_id(char **parts, int n);
/* One of the n texts that made an id; NULL: they were fewer, it is of other keys. */
extern char *attached_id_part(const char *external_id, int part, int n);
/* The texts of the key columns; raises if there are more or fewer of them. */
extern char **attached_split_external_id(const Attached *attached, const char *external_id);

/* The fields of a row; those for which wanted is true, all if it is NULL. */
extern void attached_fields(const Attached *attached, AttachedRow row, const bool *wanted,
							Fields *out);

#endif							/* SYNCEXT_ATTACHED_RELATION_H */
