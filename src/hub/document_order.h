/*
 * document_order.h
 *	  In which order the documents of a batch are worked off.
 */
#ifndef SYNCEXT_DOCUMENT_ORDER_H
#define SYNCEXT_DOCUMENT_ORDER_H

#include "hub/references.h"

/* How the caller, given in arg, works. */
typedef struct DocumentOrder
{
	const Registry *registry;
	References *references;
	/* Hold the record until the transaction ends; false: there is none. */
	bool		(*hold) (void *arg, const Change *change);
	/* Work off n documents of one record, from the one numbered first on. */
	void		(*work) (void *arg, int first, int n);
	void	   *arg;
} DocumentOrder;

/*
 * Have all documents worked off: what lives first, parents before children, then
 * deletes, children before parents.  They come sorted by depth, entity and external
 * id, and in this order their records are held.
 */
extern void document_order_run(const DocumentOrder *order, const Change *const *changes, int n);

#endif							/* SYNCEXT_DOCUMENT_ORDER_H */
