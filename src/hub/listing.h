/*
 * listing.h
 *	  Listing the children that were there before their reference.
 */
#ifndef SYNCEXT_LISTING_H
#define SYNCEXT_LISTING_H

/*
 * In a section, with SPI connected.  Returns false if a transaction that may not
 * know of a reference goes on, or lists them itself.
 */
extern bool listing_try(void);

/* The children of an entity's records are to be read: see that all are listed. */
extern void listing_require(const char *parent_entity, bool write);

#endif							/* SYNCEXT_LISTING_H */
