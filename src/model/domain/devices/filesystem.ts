/** `<filesystem>`: a host directory, image or memory that the guest mounts. */
import {
  attr,
  child,
  type ElementCodec,
  flag,
  type Infer,
  required,
  struct,
  unsetByZero,
} from '../../schema/schema.ts';
import { scaleSize, sizeBytes } from '../../schema/sizes.ts';
import { integer, oneOf, onOff, text, uint, ulong, type ValueCodec, ValueError } from '../../schema/values.ts';
import { idmap } from '../idmap.ts';
import { bootField, deviceInfoFields, virtioDriverFields } from './address.ts';

/** A file mode in octal, with or without a leading zero; written with four digits. */
const fileMode: ValueCodec<number> = {
  describe: 'octal file mode up to 0777',
  parse: (value) => {
    if (!/^0?[0-7]{1,3}$/.test(value)) throw new ValueError('is not an octal file mode up to 0777');
    return Number.parseInt(value, 8);
  },
  format: (value) => value.toString(8).padStart(4, '0'),
};

const driver = struct(() => ({
  type: attr(oneOf('path', 'handle', 'loop', 'nbd', 'ploop', 'virtiofs', 'mtp')),
  format: attr(text),
  wrpolicy: attr(oneOf('immediate')),
  queue: unsetByZero(attr(ulong)),
  ...virtioDriverFields,
}));

const binary = struct(() => ({
  path: attr(text),
  xattr: attr(onOff),
  cache: child(struct({ mode: attr(oneOf('none', 'always')) })),
  sandbox: child(struct({ mode: attr(oneOf('namespace', 'chroot')) })),
  lock: child(struct({ posix: attr(onOff), flock: attr(onOff) })),
  threadPool: child(struct({ size: attr(uint) }), 'thread_pool'),
  openfiles: child(struct({ max: unsetByZero(required(attr(ulong))) })),
}));

const writtenSource = struct(() => ({
  dir: attr(text),
  file: attr(text),
  dev: attr(text),
  name: attr(text),
  usage: attr(integer()),
  units: attr(text),
  socket: attr(text),
  pool: attr(text),
  volume: attr(text),
}));

/** `usage` is kept and written in whole KiB. */
const source: ElementCodec<Infer<typeof writtenSource>> = {
  readElement: (element, context) => {
    const value = writtenSource.readElement(element, context);
    if (value.usage === undefined) return value;
    const bytes = scaleSize(String(value.usage), value.units ?? 'KiB', element, context);
    return bytes === undefined ? value : Object.assign(value, { usage: Number(bytes / 1024n), units: 'KiB' });
  },
  writeElement: (name, value) => writtenSource.writeElement(name, value),
};

export const filesystem = struct(() => ({
  type: attr(oneOf('mount', 'block', 'file', 'template', 'ram', 'bind', 'volume')),
  accessmode: attr(oneOf('passthrough', 'mapped', 'squash')),
  model: attr(oneOf('virtio', 'virtio-transitional', 'virtio-non-transitional')),
  multidevs: attr(oneOf('default', 'remap', 'forbid', 'warn')),
  fmode: attr(fileMode),
  dmode: attr(fileMode),
  driver: child(driver),
  binary: child(binary),
  idmap: child(idmap),
  source: child(source),
  target: child(struct({ dir: attr(text) })),
  readonly: flag(),
  spaceHardLimit: child(sizeBytes(), 'space_hard_limit'),
  spaceSoftLimit: child(sizeBytes(), 'space_soft_limit'),
  ...bootField,
  ...deviceInfoFields,
}));
export interface Filesystem extends Infer<typeof filesystem> {}
