// Small things that every part of the page uses.

export const part = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

export const percent = (share) => `${Math.round(share * 100)} %`;

/** Says something to screen readers, and only to them. */
export function announce(text) {
  part("status").textContent = text;
}

/** A first letter as a sentence has it, and its full stop. */
export function sentence(text) {
  const plain = text.trim();
  return plain && plain[0].toUpperCase() + plain.slice(1) + (/[.!?]$/.test(plain) ? "" : ".");
}

/** Shows a trouble as a sentence, with a button if trying again may help; without a text takes it away. */
export function tell(text = "", again = null) {
  const button = part("again");
  part("problem").hidden = !text;
  part("problem-text").textContent = text;
  button.hidden = !again;
  button.onclick = again && (() => { tell(); again(); });
}
