/** Tells who listens which devices come, go and change. Looks only while somebody does. */
import { Broadcast } from '../../core/broadcast.ts';
import { LogSource } from '../../core/log-source.ts';
import { openUevents, type Uevent, type UeventSource } from '../../host/uevents.ts';
import type { NodeDeviceEvent } from '../node-device-operations.ts';
import type { DeviceList } from './device-list.ts';

const log = new LogSource('node_device.node_device_udev');
/** Asking the socket costs a microsecond. */
const ASK_MS = 250;
/** Without one all devices are listed, which costs a millisecond. */
const LIST_EVERY = 8;

export interface WatchOptions {
  readonly openSource?: () => Promise<UeventSource>;
  /** Tests look themselves. */
  readonly intervalMs?: number;
}

export class DeviceWatch implements Disposable {
  readonly #list: DeviceList;
  readonly #events = new Broadcast<NodeDeviceEvent>();
  readonly #options: Required<WatchOptions>;
  #listeners = 0;
  #timer: NodeJS.Timeout | undefined;
  #source: UeventSource | undefined;
  #names = new Set<string>();
  #turn = 0;

  constructor(list: DeviceList, { openSource = openUevents, intervalMs = ASK_MS }: WatchOptions = {}) {
    this.#list = list;
    this.#options = { openSource, intervalMs };
  }

  /** Changes from this call on. */
  async listen(signal: AbortSignal | undefined): Promise<AsyncIterable<NodeDeviceEvent>> {
    const events = this.#events.subscribe({ signal });
    this.#listeners++;
    if (this.#listeners === 1) await this.#begin();
    return this.#iterate(events);
  }

  /** Compares with what there was before. */
  look(): void {
    const told = this.#source?.drain();
    this.#turn++;
    const mustList = told === undefined ? this.#turn % LIST_EVERY === 0 || this.#source !== undefined : told.length > 0;
    if (mustList) this.#compare(told);
  }

  #compare(told: readonly Uevent[] = []): void {
    const devices = this.#list.all();
    const names = new Set(devices.map(({ name }) => name));
    for (const device of this.#names) if (!names.has(device)) this.#send('deleted', device);
    for (const device of names) if (!this.#names.has(device)) this.#send('created', device);
    const changed = new Set(told.filter(({ action }) => action === 'change').map(({ path }) => `/sys${path}`));
    for (const { name, path = '' } of devices) {
      if (changed.has(path) && this.#names.has(name)) this.#events.send({ kind: 'update', device: name });
    }
    this.#names = names;
  }

  [Symbol.dispose](): void {
    this.#end();
    this.#events.end();
  }

  #send(type: 'created' | 'deleted', device: string): void {
    log.info('look', () => `${device} ${type}`);
    this.#events.send({ kind: 'lifecycle', device, type });
  }

  async #begin(): Promise<void> {
    this.#names = new Set(this.#list.all().map(({ name }) => name));
    try {
      this.#source = await this.#options.openSource();
    } catch (error) {
      log.warn('listen', () => `devices are looked for now and then: ${String(error)}`);
    }
    // What came while the socket was being opened.
    this.#compare();
    this.#timer = setInterval(() => this.look(), this.#options.intervalMs).unref();
  }

  #end(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#source?.[Symbol.dispose]();
    this.#source = undefined;
  }

  async *#iterate(events: AsyncIterable<NodeDeviceEvent>): AsyncIterable<NodeDeviceEvent> {
    try {
      yield* events;
    } finally {
      this.#listeners--;
      if (this.#listeners === 0) this.#end();
    }
  }
}
