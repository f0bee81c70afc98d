//! German.

use super::Texts;

pub(super) const TEXTS: Texts = Texts {
    tag: "de",
    heading: "An der Beta teilnehmen",
    code: "Einladungscode",
    address: "Adresse, an die die Einladung ging",
    password: "Passwort, mindestens 10 Zeichen",
    join: "Teilnehmen",
    welcome: "Willkommen! Sie sind dabei und können sich jetzt mit dieser Adresse anmelden:",
    need_code: "Sie brauchen eine Einladung: Öffnen Sie den Link in Ihrer Nachricht oder geben Sie den Code daraus ein.",
    link_heading: "Kein Code, oder er ist abgelaufen?",
    link_words: "Geben Sie Ihre Adresse ein. Ist sie eingeladen, schicken wir einen neuen Link dorthin.",
    link_button: "Neuen Link schicken",
    link_asked: "Wenn diese Adresse eingeladen ist, ist eine Nachricht mit einem neuen Link unterwegs. Frühere Codes gelten nicht mehr.",
    invalid: "Dieser Code gehört nicht zu dieser Adresse. Nehmen Sie die Adresse, an die die Einladung ging, und prüfen Sie den Code.",
    used: "Diese Einladung wurde schon benutzt. Waren Sie das, melden Sie sich bitte an.",
    revoked: "Diese Einladung wurde zurückgezogen. Wer Sie eingeladen hat, kann Ihnen mehr sagen.",
    expired: "Diese Einladung ist abgelaufen. Fordern Sie unten einen neuen Link an.",
    frozen: "Die Anmeldung ruht im Moment. Ihre Einladung bleibt gültig: Bitte versuchen Sie es später wieder.",
    closed: "Die Anmeldung für Ihre Gruppe ist zurzeit nicht offen.",
    full: "Alle Plätze sind vergeben. Sie stehen auf der Warteliste.",
    no_place: "Zurzeit sind alle Plätze vergeben. Bitte versuchen Sie es später wieder.",
    used_up: "Dieser Code hat schon alle eingelassen, für die er gedacht ist. Wer ihn Ihnen gab, hat vielleicht einen weiteren.",
    account_exists: "Für diese Adresse gibt es schon ein Konto: Melden Sie sich an und lösen Sie den Code dort ein.",
    password_rule: "Wählen Sie ein Passwort mit 10 bis 256 Zeichen.",
    too_many: "Das waren zu viele Versuche. Bitte warten Sie etwas und versuchen Sie es wieder.",
    other: "Bei uns ist etwas schiefgegangen. Bitte versuchen Sie es gleich noch einmal.",
};
