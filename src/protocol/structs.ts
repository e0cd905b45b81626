/** Types that several procedures share, as the remote protocol declares them. */
import type { Codec } from '../xdr/codec.ts';
import {
  array,
  double,
  fixed,
  hyper,
  int,
  opaque,
  optional,
  string,
  struct,
  uhyper,
  uint,
  union,
} from '../xdr/codec.ts';
import { XdrError } from '../xdr/error.ts';
import { Max } from './limits.ts';

/** A text that is always there. */
export const text = string(Max.string);
export const optionalText = optional(text);
/** 16 bytes. */
export const uuid = fixed(16);

/** Bytes, each of which takes four on the wire: the protocol declares them as `char`. */
export function chars(max: number): Codec<Uint8Array> {
  return {
    write: (writer, value) => {
      if (value.length > max) throw new XdrError(`${value.length} bytes, at most ${max} are allowed`);
      writer.uint(value.length);
      for (const byte of value) writer.int(byte);
    },
    read: (reader) => {
      const bytes = new Uint8Array(reader.count(max, 4));
      for (let index = 0; index < bytes.length; index++) bytes[index] = reader.int();
      return bytes;
    },
    shape: { kind: 'opaque', max },
    minSize: 4,
  };
}

/** A text in a field of `size` bytes, ended by a NUL, each byte taking four. */
export function fixedChars(size: number): Codec<string> {
  return {
    write: (writer, value) => {
      const bytes = Buffer.alloc(size);
      bytes.write(value, 0, size - 1, 'utf8');
      for (const byte of bytes) writer.int(byte);
    },
    read: (reader) => {
      const bytes = Buffer.alloc(size);
      for (let index = 0; index < size; index++) bytes[index] = reader.int();
      const end = bytes.indexOf(0);
      return bytes.toString('utf8', 0, end < 0 ? size : end);
    },
    shape: { kind: 'string', max: size - 1 },
    minSize: size * 4,
  };
}

/** virTypedParameterType. */
export const ParamType = { INT: 1, UINT: 2, LLONG: 3, ULLONG: 4, DOUBLE: 5, BOOLEAN: 6, STRING: 7 } as const;
export type ParamType = (typeof ParamType)[keyof typeof ParamType];

export const typedParamValue = union({ 1: int, 2: uint, 3: hyper, 4: uhyper, 5: double, 6: int, 7: text });
export const domain = struct({ name: text, uuid, id: int });
export const network = struct({ name: text, uuid });
export const networkPort = struct({ net: network, uuid });
export const nwfilter = struct({ name: text, uuid });
export const nwfilterBinding = struct({ portdev: text, filtername: text });
export const hostInterface = struct({ name: text, mac: text });
export const storagePool = struct({ name: text, uuid });
export const storageVol = struct({ pool: text, name: text, key: text });
export const nodeDevice = struct({ name: text });
export const secret = struct({ uuid, usageType: int, usageID: text });
export const domainCheckpoint = struct({ name: text, dom: domain });
export const domainSnapshot = struct({ name: text, dom: domain });
export const vcpuInfo = struct({ number: uint, state: int, cpuTime: uhyper, cpu: int });
export const typedParam = struct({ field: text, value: typedParamValue });
export const nodeGetCpuStats = struct({ field: text, value: uhyper });
export const nodeGetMemoryStats = struct({ field: text, value: uhyper });
export const domainDiskError = struct({ disk: text, error: int });
export const domainMemoryStat = struct({ tag: int, val: uhyper });
export const domainIothreadInfo = struct({ iothreadId: uint, cpumap: opaque(Max.cpumap) });
export const domainEventGraphicsAddress = struct({ family: int, node: text, service: text });
export const domainEventGraphicsIdentity = struct({ type: text, name: text });
export const networkDhcpLease = struct({
  iface: text,
  expirytime: hyper,
  type: int,
  mac: optionalText,
  iaid: optionalText,
  ipaddr: text,
  prefix: uint,
  hostname: optionalText,
  clientid: optionalText,
});
export const domainStatsRecord = struct({ dom: domain, params: array(typedParam, Max.connectGetAllDomainStats) });
export const domainFsinfo = struct({
  mountpoint: text,
  name: text,
  fstype: text,
  devAliases: array(text, Max.domainFsinfoDisks),
});
export const domainIpAddr = struct({ type: int, addr: text, prefix: uint });
export const domainInterface = struct({
  name: text,
  hwaddr: optionalText,
  addrs: array(domainIpAddr, Max.domainIpAddr),
});
