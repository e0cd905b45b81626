/** Vital product data of a PCI card: name, part and serial numbers. Pure; the file is root's, and reading it can be slow on real cards. */
import type { VpdXml } from '../../model/node-device.ts';

const NAME = 0x02;
const READ_ONLY = 0x10;
const READ_WRITE = 0x11;
type Fields = VpdXml['fields'][number];

/** Undefined where it is none, or damaged. */
export function readVpd(bytes: Buffer): VpdXml | undefined {
  let name: string | undefined;
  const fields: Fields[] = [];
  for (const { tag, data } of resources(bytes)) {
    if (tag === NAME) name = printable(data);
    else if (tag === READ_ONLY) fields.push(readFields('readonly', data));
    else if (tag === READ_WRITE) fields.push(readFields('readwrite', data));
  }
  return name === undefined || fields.length === 0 ? undefined : { type: 'vpd', name, fields };
}

/** Large resources up to the end tag. */
function* resources(bytes: Buffer): Generator<{ tag: number; data: Buffer }> {
  let at = 0;
  while (at + 3 <= bytes.length) {
    const first = bytes.readUInt8(at);
    // A small resource: the only one in use is the end.
    if ((first & 0x80) === 0) return;
    const length = bytes.readUInt16LE(at + 1);
    const data = bytes.subarray(at + 3, at + 3 + length);
    if (data.length < length) return;
    yield { tag: first & 0x7f, data };
    at += 3 + length;
  }
}

function readFields(access: Fields['access'], data: Buffer): Fields {
  const fields: Fields = { access, vendor_field: [], system_field: [] };
  for (let at = 0; at + 3 <= data.length; ) {
    const keyword = data.toString('latin1', at, at + 2);
    const length = data.readUInt8(at + 2);
    setField(fields, keyword, printable(data.subarray(at + 3, at + 3 + length)));
    at += 3 + length;
  }
  return fields;
}

const KEYWORDS: Readonly<Record<string, 'change_level' | 'manufacture_id' | 'part_number' | 'serial_number'>> = {
  EC: 'change_level',
  MN: 'manufacture_id',
  PN: 'part_number',
  SN: 'serial_number',
};

function setField(fields: Fields, keyword: string, value: string | undefined): void {
  const known = KEYWORDS[keyword];
  const index = keyword.charAt(1);
  if (value === undefined || !/^[A-Z0-9]{2}$/.test(keyword)) return;
  if (known !== undefined && fields.access === 'readonly') fields[known] = value;
  else if (keyword.startsWith('V')) fields.vendor_field.push({ index, value });
  else if (fields.access === 'readwrite' && keyword === 'YA') fields.asset_tag = value;
  else if (fields.access === 'readwrite' && keyword.startsWith('Y')) fields.system_field.push({ index, value });
}

/** Numbers and checksums are no text. */
function printable(data: Buffer): string | undefined {
  const found = data.toString('latin1').replace(/[\0 ]+$/, '');
  return /^[\x20-\x7e]+$/.test(found) ? found : undefined;
}
