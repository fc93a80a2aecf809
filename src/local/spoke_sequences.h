/*
 * spoke_sequences.h
 *	  The sequences that the keys of a linked source's tables are drawn from.
 */
#ifndef SYNCEXT_SPOKE_SEQUENCES_H
#define SYNCEXT_SPOKE_SEQUENCES_H

#include "utils/jsonb.h"

/*
 * Let them go on from behind these keys, {entity: number}, where they are before.  False:
 * other sessions draw from one just now, which is to be tried again.
 */
extern bool spoke_sequences_raise(const char *source, const Jsonb *greatest);

#endif							/* SYNCEXT_SPOKE_SEQUENCES_H */
