/** `<permissions>` of pools and volumes: mode in octal, owner and group where they are not left to the system. */
import { child, type ElementCodec, type Infer, struct } from '../schema/schema.ts';
import { integer, text, type ValueCodec, ValueError } from '../schema/values.ts';

const octalMode: ValueCodec<number> = {
  describe: 'octal 0..7777',
  parse: (value) => {
    if (!/^[0-7]{1,5}$/.test(value.trim()) || Number.parseInt(value, 8) > 0o7777) {
      throw new ValueError('is not an octal mode (as 0755)');
    }
    return Number.parseInt(value, 8);
  },
  format: (mode) => mode.toString(8).padStart(4, '0'),
};

/** -1 leaves it to the system, as absence does. */
const NOBODY = -1;
const id = integer({ min: NOBODY, max: 0xffff_fffe });

const fields = struct(() => ({ mode: child(octalMode), owner: child(id), group: child(id), label: child(text) }));

export interface Permissions extends Infer<typeof fields> {}

export const permissions: ElementCodec<Permissions> = {
  readElement: (element, context) => {
    const value = fields.readElement(element, context);
    if (value.owner === NOBODY) delete value.owner;
    if (value.group === NOBODY) delete value.group;
    return value;
  },
  writeElement: (name, value) => fields.writeElement(name, value),
};

/** `<permissions>` without anything in it is not written. */
export function givenPermissions(given: Permissions | undefined): Permissions | undefined {
  if (given === undefined) return undefined;
  const { mode, owner, group, label } = given;
  return mode === undefined && owner === undefined && group === undefined && label === undefined ? undefined : given;
}
