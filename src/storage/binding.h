/*
 * binding.h
 *	  Attached relations: which relation holds a source's copy of an entity
 *	  (table syncext.binding), cached in the backend.
 *
 * Like a Registry, a Binding that was handed out stays valid until the end of
 * the transaction.
 */
#ifndef SYNCEXT_BINDING_H
#define SYNCEXT_BINDING_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "model/fields.h"

typedef enum BindingCapture
{
	CAPTURE_NONE,
	CAPTURE_TRIGGER,
	CAPTURE_POLL
} BindingCapture;

typedef struct Binding
{
	Oid			relation;
	const char *source;
	const char *entity;
	int			nkeys;
	const char **key;			/* columns that make the external id, in order; or with own_keys
								 * the source's own key */
	Jsonb	   *columns;		/* {field: column}; NULL: every plain column */
	BindingCapture capture;
	bool		in;				/* its edits go to the hub */
	bool		out;			/* the hub's records are written to it */
	const char *version_column; /* or NULL */
	const char *updated_column; /* or NULL */
	const char *deleted_column; /* marks rows as deleted, or NULL */
	Oid			row_type;		/* tells the relation from another with its OID; or
								 * InvalidOid: not known */
	const char *name;			/* the relation's, qualified, when last seen; or NULL */
	TimestampTz attached_at;
	const char *attached_by;	/* by right of the source's role; NULL: an administrator */
	const char *attached_as;	/* that role */
	Jsonb	   *differing;		/* {field: true} that its own triggers set, at each delivery,
								 * to another value than the hub has; or NULL */
	Jsonb	   *loaded;			/* {column: attnum} of the fields that it had when it and
								 * the hub were last brought together; NULL: they weren't */
	int64		resumed;		/* rows of replica that were settled before this were kept while it
								 * was detached; 0: none were */
	bool		own_keys;		/* rows are born with keys of the relation's own */
	const char *external_id_column; /* with own_keys, holds the record's id; or NULL */
	const char *problem;		/* what the row was edited to that it can't be, or NULL */
} Binding;

/* Both return NULL where there is none. */
extern const Binding *binding_of_relation(Oid relation);
extern const Binding *binding_of_entity(const char *source, const char *entity);
/* The bindings of a source, or of an entity (the other is NULL): Binding *. */
extern List *binding_list(const char *source, const char *entity);

/* Is the relation there?  OIDs come again, so one that has its OID may be another. */
extern bool binding_stands(const Binding *binding);

/* A copy in the current memory context. */
extern Binding *binding_copy(const Binding *binding);
extern bool binding_captures(const Binding *binding);
/* Must its rows be told apart from the hub's records before these are delivered to it? */
extern bool binding_awaits_load(const Binding *binding);
extern const char *binding_capture_name(BindingCapture capture);
/* False: no kind of capture has that name. */
extern bool binding_capture_by_name(const char *name, BindingCapture *capture);

/* Change the table and mark every session's cache.  Rights were checked. */
extern void binding_add(const Binding *binding);
/* Remove a binding and, unless they are kept, what is known of its rows. */
extern void binding_remove(Oid relation, bool keep_rows);
/* Note that the relation and the hub were brought together, or (NULL) that they aren't any more. */
extern void binding_set_loaded(Oid relation, Jsonb *loaded);
/* Note that the relation's own triggers keep a field at another value than the hub has. */
extern void binding_note_differing(const Binding *binding, FieldName field);

#endif							/* SYNCEXT_BINDING_H */
