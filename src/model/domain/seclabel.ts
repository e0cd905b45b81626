/** `<seclabel>`: security labels of the guest and, in a shorter form, of one device's source. */
import { attr, child, type ElementCodec, type Infer, struct } from '../schema/schema.ts';
import { oneOf, text, yesNo } from '../schema/values.ts';

const fields = struct(() => ({
  type: attr(oneOf('dynamic', 'static', 'none')),
  model: attr(text),
  relabel: attr(yesNo),
  label: child(text),
  imagelabel: child(text),
  baselabel: child(text),
}));
export interface Seclabel extends Infer<typeof fields> {}

/** The guest's own label. What contradicts its type is refused while reading. */
export const seclabel: ElementCodec<Seclabel> = {
  readElement: (element, context) => {
    const value = fields.readElement(element, context);
    const problem = problemOf(value);
    if (problem !== undefined) context.fault(element, problem);
    return value;
  },
  writeElement: (name, value) => fields.writeElement(name, value),
};

function problemOf({ type = 'dynamic', relabel, label, baselabel }: Seclabel): string | undefined {
  if (type === 'dynamic' && relabel === false) {
    return "a dynamic label needs relabel='yes': remove relabel='no', or use type='static'";
  }
  if (type === 'none' && relabel === true) return "type='none' labels nothing: remove relabel='yes'";
  if (type === 'static' && (label ?? '') === '') return "type='static' needs a <label>";
  if (type !== 'dynamic' && baselabel !== undefined) return `type='${type}' allows no <baselabel>: use <label>`;
  return undefined;
}

const deviceFields = struct(() => ({
  model: attr(text),
  relabel: attr(yesNo),
  labelskip: attr(yesNo),
  label: child(text),
}));
export interface DeviceSeclabel extends Infer<typeof deviceFields> {}

/** A label of one disk or character device source. `labelskip` is only ever output: such an element is dropped. */
export const deviceSeclabel: ElementCodec<DeviceSeclabel> = {
  readElement: (element, context) => {
    const value = deviceFields.readElement(element, context);
    if (value.labelskip === true) return undefined;
    const where = `<seclabel${value.model === undefined ? '' : ` model='${value.model}'`}>`;
    if (value.relabel === true && value.label === undefined) {
      context.fault(element, `${where} asks for relabelling and has no <label>: give one, or remove relabel='yes'`);
    } else if (value.relabel === false && value.label !== undefined) {
      context.fault(element, `${where} has a <label> and relabel='no': remove one of them`);
    }
    return value;
  },
  writeElement: (name, value) => deviceFields.writeElement(name, value),
};
