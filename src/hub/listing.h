/*
 * listing.h
 *	  Listing the children that were there before their reference.
 */
#ifndef SYNCEXT_LISTING_H
#define SYNCEXT_LISTING_H

/*
 * In an OwnerContext, with SPI connected.  Returns false if a transaction that may not
 * know of a reference goes on, or lists them itself; or, where the caller has
 * waited for all such, if that can't be told.
 */
extern bool listing_try(bool waited);

/*
 * The children of an entity's records are to be read: are all of them listed?  If not,
 * they are to be looked for among the golden records.  Before a write, no transaction
 * goes on any more that may have written children without knowing of the reference.
 */
extern bool listing_ready(const char *parent_entity, bool write);

#endif							/* SYNCEXT_LISTING_H */
