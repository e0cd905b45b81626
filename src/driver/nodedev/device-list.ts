/**
 * The host's devices under libvirt's names. Which there are is looked up at every call; what they are is read once, and again when somebody
 * wants the whole description. It changes nothing on the host.
 */
import { existsSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { listNames } from '../../core/list-names.ts';
import type { ReadNetFeatures } from '../../host/ethtool.ts';
import type { NodeDevice } from '../../model/node-device.ts';
import { type DetailSources, describeDevice } from './details.ts';
import { describeSystem } from './details-system.ts';
import { PciIds } from './pci-ids.ts';
import { type DeviceRoots, SysDevice } from './sys-device.ts';

/** Root of the tree. */
export const COMPUTER = 'computer';

/** Folders of links to devices, by subsystem. Others have nothing that libvirt shows. */
const FOLDERS: readonly (readonly [string, string])[] = [
  ...['pci', 'usb', 'scsi', 'mdev', 'vdpa', 'ccw', 'css', 'ap', 'matrix'].map(
    (bus) => [bus, `bus/${bus}/devices`] as const,
  ),
  ...['net', 'block', 'scsi_generic', 'drm'].map((kind) => [kind, `class/${kind}`] as const),
];

interface Known {
  readonly subsystem: string;
  device: NodeDevice | undefined;
}

export class DeviceList {
  readonly #roots: Required<Omit<DeviceRoots, 'pciIds'>>;
  readonly #sources: DetailSources;
  /** By folder, links resolved. */
  #known = new Map<string, Known>();
  /** What a link led to: a device keeps its place as long as it is there. */
  #targets = new Map<string, string>();

  constructor(netFeatures: ReadNetFeatures, { pciIds, ...roots }: DeviceRoots = {}) {
    const { sys = '/sys', udev = '/run/udev/data', machineId = '/etc/machine-id' } = roots;
    this.#roots = { sys: existsSync(sys) ? realpathSync(sys) : sys, udev, machineId };
    this.#sources = { sys: this.#roots.sys, pciIds: new PciIds(pciIds), netFeatures };
  }

  /** All of them, the computer first, then by name. */
  all(): NodeDevice[] {
    this.#look();
    const found = [...this.#known.values()].flatMap(({ device }) => device ?? []);
    return [this.#computer(), ...found.toSorted((a, b) => (a.name < b.name ? -1 : 1))];
  }

  /** Read anew. Undefined: there is none of that name. */
  find(name: string): NodeDevice | undefined {
    if (name === COMPUTER) return this.#computer();
    this.#look();
    for (const [dir, known] of this.#known) {
      if (known.device?.name !== name) continue;
      known.device = this.#describe(dir, known.subsystem);
      return known.device;
    }
    return undefined;
  }

  /** The folder of a device in sysfs. */
  folderOf(device: NodeDevice): string {
    return join(this.#roots.sys, (device.path ?? '').slice('/sys'.length));
  }

  #computer(): NodeDevice {
    return { name: COMPUTER, devnode: [], capability: [describeSystem(this.#roots)] };
  }

  /** Parents lie above their children in the tree, so they are described first. */
  #look(): void {
    const before = this.#known;
    const links = this.#links();
    this.#targets = new Map(links.map(({ link, dir }) => [link, dir]));
    this.#known = new Map();
    for (const { dir, subsystem } of links.toSorted((a, b) => (a.dir < b.dir ? -1 : 1))) {
      const device = before.get(dir)?.device ?? this.#describe(dir, subsystem);
      this.#known.set(dir, { subsystem, device });
    }
  }

  #links(): { link: string; dir: string; subsystem: string }[] {
    return FOLDERS.flatMap(([subsystem, folder]) =>
      listNames(join(this.#roots.sys, folder)).flatMap((name) => {
        const link = join(this.#roots.sys, folder, name);
        const dir = this.#resolve(link);
        return dir === undefined ? [] : [{ link, dir, subsystem }];
      }),
    );
  }

  #resolve(link: string): string | undefined {
    const before = this.#targets.get(link);
    if (before !== undefined && existsSync(before)) return before;
    try {
      return realpathSync(link);
    } catch {
      // It went between the listing and now.
      return undefined;
    }
  }

  #describe(dir: string, subsystem: string): NodeDevice | undefined {
    const device = new SysDevice(dir, subsystem, this.#roots);
    const described = describeDevice(device, this.#sources);
    if (described === undefined) return undefined;
    const { details, suffix, name = `${subsystem}_${device.name}` } = described;
    const driver = device.property('DRIVER');
    return {
      name: (suffix === undefined ? name : `${name}_${suffix}`).replaceAll(/[^A-Za-z0-9]/g, '_'),
      path: device.path,
      devnode: [
        ...(device.node === undefined ? [] : [{ type: 'dev' as const, path: device.node }]),
        ...device.links.map((path) => ({ type: 'link' as const, path })),
      ],
      parent: this.#parentOf(dir),
      driver: driver === undefined ? undefined : { name: driver },
      capability: [details],
    };
  }

  #parentOf(dir: string): string {
    for (let above = dirname(dir); above.length > this.#roots.sys.length; above = dirname(above)) {
      const found = this.#known.get(above)?.device;
      if (found !== undefined) return found.name;
    }
    return COMPUTER;
  }
}
