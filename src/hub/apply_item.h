/*
 * apply_item.h
 *	  What is applied: a change with its source and its entity, whose names were
 *	  looked up once; and what is answered.
 */
#ifndef SYNCEXT_APPLY_ITEM_H
#define SYNCEXT_APPLY_ITEM_H

#include "model/ladder.h"
#include "storage/registry.h"
#include "storage/rights.h"

typedef struct ApplyItem
{
	const Change *change;
	const Source *source;		/* NULL: dropped, or a reviewer is told */
	const Entity *entity;
} ApplyItem;

/* Raises where the registry has no such entity or source. */
static inline ApplyItem
apply_item(const Registry *registry, const Change *change)
{
	ApplyItem		item = {.change = change};

	item.entity = registry_entity_required(registry, change->entity);
	item.source = registry_source_required(registry, change->source);
	return item;
}

/* What the sender of a change is told. */
typedef struct Answer
{
	const Change *change;
	Decision	decision;		/* decision.after is the record as it stands */
	int64		conflict_id;	/* 0: none */
	bool		born;			/* the record didn't live before */
	bool		unheard;		/* an edit of a record that isn't there, nor waits to be made by
								 * its source: a link's is not applied, one of a table here
								 * waits, too */
	bool		hidden;			/* its source may not be told what became of it */
	bool		refused;		/* it goes beyond a limit: error; nothing was written */
	ChangeError error;
} Answer;

/* The open tables, kept for all changes of a call: see apply_call.h. */
typedef struct ApplyCall ApplyCall;

#endif							/* SYNCEXT_APPLY_ITEM_H */
