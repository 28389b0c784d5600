/** What every part of the panel may use, without handing it down part by part. */

import { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';
import { Follower } from '../follow';
import { Recoveries } from '../recovery';

export interface IScope {
  trans: TranslationBundle;
  follower: Follower;
  /** Null where resuming is switched off. */
  recoveries: Recoveries | null;
  /** Carry out a command of the application. */
  execute: (command: string, args?: Record<string, string>) => Promise<unknown>;
}

export const Scope = React.createContext<IScope | null>(null);

export function useScope(): IScope {
  const scope = React.useContext(Scope);
  if (!scope) {
    throw new Error('A part of the panel stands outside of it.');
  }
  return scope;
}
