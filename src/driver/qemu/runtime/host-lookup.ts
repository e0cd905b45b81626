/**
 * Answers, for one start, the planner's questions that only this host can answer: a free display port, whether vhost-net
 * opens, a vsock address. What was handed out is remembered until the guest ends.
 */
import { accessSync, constants, readdirSync } from 'node:fs';
import { ErrorCode, VirtError } from '../../../core/errors.ts';
import { readListeningPorts } from '../../../host/listening-ports.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { QemuConfig } from '../config.ts';
import type { GraphicsPortRequest, Lookup } from '../context.ts';

/** Display ports and vsock addresses in use by this process's guests. */
export class HostReservations {
  readonly #ports = new Set<number>();
  readonly #cids = new Set<number>();

  /** A lookup for one start; dispose it when the guest has ended, or the start failed. */
  begin(config: Pick<QemuConfig, 'remotePortMin' | 'remotePortMax'>): HostLookup {
    return new HostLookup(config, this.#ports, this.#cids);
  }
}

/** First port of a use where it has a range of its own; the others share the configured one. */
const RANGE_START: Readonly<Partial<Record<GraphicsPortRequest['use'], number>>> = { 'vnc-websocket': 5700, rdp: 3389 };
/** vsock addresses below belong to the hypervisor, the loopback and the host. */
const FIRST_CID = 3;

export class HostLookup implements Lookup, Disposable {
  readonly #config: Pick<QemuConfig, 'remotePortMin' | 'remotePortMax'>;
  readonly #ports: Set<number>;
  readonly #cids: Set<number>;
  readonly #mine: { readonly request: GraphicsPortRequest; readonly port: number }[] = [];
  #myCid: number | undefined;
  #listening: Set<number> | undefined;

  /** @internal Use `HostReservations.begin`. */
  constructor(config: Pick<QemuConfig, 'remotePortMin' | 'remotePortMax'>, ports: Set<number>, cids: Set<number>) {
    this.#config = config;
    this.#ports = ports;
    this.#cids = cids;
  }

  graphicsPort(request: GraphicsPortRequest): number {
    this.#listening ??= readListeningPorts();
    const { remotePortMin, remotePortMax } = this.#config;
    for (let port = RANGE_START[request.use] ?? remotePortMin; port <= remotePortMax; port++) {
      if (this.#listening.has(port) || this.#ports.has(port)) continue;
      this.#ports.add(port);
      this.#mine.push({ request, port });
      return port;
    }
    throw new VirtError(`no free port for ${request.use} from ${remotePortMin} to ${remotePortMax}`, {
      code: ErrorCode.OPERATION_FAILED,
    });
  }

  vsockCid(): number {
    if (this.#myCid !== undefined) return this.#myCid;
    let cid = FIRST_CID;
    while (this.#cids.has(cid)) cid++;
    this.#cids.add(cid);
    this.#myCid = cid;
    return cid;
  }

  vhostNet({ kvm, driver }: { readonly kvm: boolean; readonly driver: string | undefined }): boolean {
    if (driver === 'qemu' || (!kvm && driver !== 'vhost')) return false;
    return driver === 'vhost' || isAccessible('/dev/vhost-net');
  }

  renderNode(): string | undefined {
    const node = listOrEmpty('/dev/dri').find((name) => name.startsWith('renderD'));
    return node === undefined ? undefined : `/dev/dri/${node}`;
  }

  /** Writes the chosen ports into the live definition, where viewers look for them. */
  fillPorts(domain: Domain): void {
    for (const { request, port } of this.#mine) {
      const graphics = domain.devices?.graphics[request.index];
      if (graphics === undefined) continue;
      if (request.use === 'vnc-websocket') graphics.websocket = port;
      else if (request.use === 'spice-tls') graphics.tlsPort = port;
      else graphics.port = port;
    }
  }

  [Symbol.dispose](): void {
    for (const { port } of this.#mine.splice(0)) this.#ports.delete(port);
    if (this.#myCid !== undefined) this.#cids.delete(this.#myCid);
    this.#myCid = undefined;
  }
}

function isAccessible(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    // Absent or not ours: the guest's network goes through QEMU itself then.
    return false;
  }
}

function listOrEmpty(dir: string): string[] {
  try {
    return readdirSync(dir).sort();
  } catch {
    // A host without a graphics card.
    return [];
  }
}
