/*
 * spoke_hub.h
 *	  A hub that is a spoke of another hub: what it sends there, and what comes from
 *	  there.
 */
#ifndef SYNCEXT_SPOKE_HUB_H
#define SYNCEXT_SPOKE_HUB_H

#include "link/side.h"

extern const SpokeSide spoke_hub_side;

#endif							/* SYNCEXT_SPOKE_HUB_H */
