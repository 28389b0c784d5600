/** What one open notebook tells by itself: its run's live messages, the cell that runs, and its kernel's death. */

import { NotebookActions, NotebookPanel } from '@jupyterlab/notebook';
import { Kernel, KernelMessage } from '@jupyterlab/services';
import { IDisposable } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';
import { memory } from './memory';
import { IRunView, MIME, object, readView, text } from './run';

/** A kernel that went away with a run in it. */
export interface IDeath {
  /** Unix seconds. */
  at: number;
  /** The run as it was last seen, if it was. */
  view: IRunView | null;
  /** Whether a new kernel is there to go on in. */
  ready: boolean;
}

/** The cell in which a page saw a run move; `run` is the path in the run's last message, if it sent any. */
export interface ISeen {
  id: string;
  run: string | null;
}

const DIED: Kernel.Status[] = ['autorestarting', 'dead'];

/** Follows one notebook for as long as it is open. */
export class Watch implements IDisposable {
  constructor(readonly panel: NotebookPanel) {
    const { sessionContext } = panel;
    sessionContext.iopubMessage.connect(this._onMessage, this);
    sessionContext.statusChanged.connect(this._onStatus, this);
    sessionContext.kernelChanged.connect(this._onKernel, this);
    NotebookActions.executionScheduled.connect(this._onScheduled, this);
    NotebookActions.executed.connect(this._onExecuted, this);
    panel.disposed.connect(this.dispose, this);
  }

  /** Emitted when any of what is below changed. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** The run as the kernel last showed it in this page. */
  get live(): IRunView | null {
    return this._live;
  }

  /** The death that nobody has answered yet. */
  get death(): IDeath | null {
    return this._death;
  }

  /** The cell in which a run moved last, or which ran when the kernel died; also before a reload. */
  get seen(): ISeen | null {
    let said: unknown = null;
    try {
      said = JSON.parse(memory.get(this._key) ?? 'null');
    } catch {
      // not ours
    }
    const from = object(said);
    return from && text(from.id) ? { id: text(from.id), run: text(from.run) || null } : null;
  }

  /** How many cells have ended. */
  get ran(): number {
    return this._ran;
  }

  /** When it last showed it, in Unix seconds by this browser's clock. */
  get heard(): number {
    return this._heard;
  }

  get path(): string {
    return this.panel.context.path;
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  /** Forget a death: it was answered. */
  settle(): void {
    this._death = null;
    this._changed.emit();
  }

  dispose(): void {
    if (!this._disposed) {
      this._disposed = true;
      Signal.clearData(this);
    }
  }

  private get _key(): string {
    return `cell:${this.path}`;
  }

  private _onMessage(_: unknown, message: KernelMessage.IMessage): void {
    const data = (message.content as { data?: Record<string, unknown> }).data;
    const view = data && MIME in data ? readView(data[MIME]) : null;
    if (view) {
      this._live = view;
      this._heard = Date.now() / 1000;
      if (view.state === 'running') {
        this._remember();
      }
      if (this._death && view.state === 'running') {
        this._death = null; // it goes on, whoever ran the cells
      }
      this._changed.emit();
    }
  }

  private _onStatus(_: unknown, status: Kernel.Status): void {
    if (DIED.includes(status)) {
      this._remember();
      this._death ??= { at: Date.now() / 1000, view: this._live, ready: false };
      this._queue = [];
      this._changed.emit();
    } else if (this._death && !this._death.ready && status === 'idle') {
      this._death = { ...this._death, ready: true };
      this._changed.emit();
    }
  }

  private _onKernel(): void {
    this._live = null;
    this._changed.emit();
  }

  private _onScheduled(_: unknown, { notebook, cell }: { notebook: unknown; cell: { model: { id: string; type: string } } }): void {
    if (notebook === this.panel.content && cell.model.type === 'code') {
      this._queue.push(cell.model.id);
    }
  }

  private _onExecuted(_: unknown, { notebook, cell }: { notebook: unknown; cell: { model: { id: string } } }): void {
    const place = notebook === this.panel.content ? this._queue.indexOf(cell.model.id) : -1;
    if (place >= 0) {
      this._queue.splice(place, 1);
      this._ran += 1;
      this._changed.emit();
    }
  }

  /** Which cell runs now. It is kept through a reload of the page: a death may be seen only afterwards. */
  private _remember(): void {
    if (this._queue[0] !== undefined) {
      const seen: ISeen = { id: this._queue[0], run: this._live?.path ?? null };
      memory.set(this._key, JSON.stringify(seen));
    }
  }

  private _live: IRunView | null = null;
  private _heard = 0;
  private _death: IDeath | null = null;
  private _queue: string[] = [];
  private _ran = 0;
  private _disposed = false;
  private _changed = new Signal<this, void>(this);
}
