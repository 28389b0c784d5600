/** What our plugins ask of each other. */

import { Token } from '@lumino/coreutils';
import type { Follower } from './follow';
import type { Recoveries } from './recovery';

export const IFollower = new Token<Follower>('jupyter-resume:IFollower', 'The run of the notebook in front.');
export type IFollower = Follower;

export const IRecoveries = new Token<Recoveries>('jupyter-resume:IRecoveries', 'Resuming notebooks whose kernel died.');
export type IRecoveries = Recoveries;

/** The name of our palette category and translations. */
export const CATEGORY = 'Resume';
export const DOMAIN = 'jupyter_resume';
