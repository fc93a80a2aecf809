/*
 * outbox_buffer.h
 *	  Edits of relations whose entity is decided behind a link, until their
 *	  transaction commits.
 */
#ifndef SYNCEXT_OUTBOX_BUFFER_H
#define SYNCEXT_OUTBOX_BUFFER_H

#include "model/change.h"

/*
 * Note an edit of a row.  What binds it, the change's source and entity, must
 * stay until the end of the transaction.  The rest is copied.  kind: a key of the log's
 * detail that says what edit it is, or NULL.  run: of the server, where a counter was
 * edited; else 0.
 */
extern void outbox_buffer_add(const Change *change, const char *kind, int64 run);

/* Write to the change log what the present (sub)transaction has noted. */
extern void outbox_buffer_flush(void);

#endif							/* SYNCEXT_OUTBOX_BUFFER_H */
