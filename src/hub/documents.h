/*
 * documents.h
 *	  The change documents of a call: reading them, and their order.
 */
#ifndef SYNCEXT_DOCUMENTS_H
#define SYNCEXT_DOCUMENTS_H

#include "hub/answer.h"
#include "hub/own_keys.h"
#include "hub/redelivery.h"

/* One document of a call. */
typedef struct Document
{
	JsonbValue	element;		/* of the array that came in */
	int			position;		/* there */
	int			depth;			/* of its entity among the references */
	bool		good;
	Change		change;
	ChangeError error;
	JsonbValue *answer;
	bool		refused;		/* it went beyond a limit */
	bool		own_keys;		/* its source has keys of its own */
	const KeyedChange *keyed;	/* what became of that */
} Document;

typedef struct Documents
{
	bool		batch;
	int			n;
	Document   *document;		/* in the order they came in */
	int			ngood;
	Document  **order;			/* the good ones, in the order of work */
	const Registry *registry;
	const char *only_source;	/* documents of others are refused; NULL: none */
	const int64 *lost_epoch;	/* they may say what this hub had in it; NULL: they may not */
	const Source *may_act_as;	/* the one whose role the user was found to hold last */
	AnswerMaker make_answer;
	int			nclaims;
	Claim	   *claims;			/* of the good ones that bear a change id */
	int			nkeyed;
	KeyedChange *keyed;			/* of the good ones whose sources have keys of their own */
} Documents;

/*
 * Read a document or an array of them.  In an array one that can't be read, or that
 * names what isn't there, is answered; alone it raises.  Raises if the user may not act
 * as the source of any.
 */
extern void documents_read(Documents *docs, Jsonb *input);
/* Read some of them anew, as a batch: working on them changes what was read. */
extern Documents *documents_read_again(const Documents *all, Document *const *some, int n);

/* All that names records is known: put the good ones in the order of work. */
extern void documents_sort(Documents *docs);
/*
 * Order documents so that any half can be done before the next one, as far as they tell:
 * those of records that live in the end, parents first, then those of records that are
 * deleted, children first.
 */
extern void documents_sort_for_halves(Document **some, int n);

#endif							/* SYNCEXT_DOCUMENTS_H */
