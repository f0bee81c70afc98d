//! Italian.

use super::Texts;

pub(super) const TEXTS: Texts = Texts {
    tag: "it",
    heading: "Partecipa alla beta",
    code: "Codice d’invito",
    address: "Indirizzo a cui è arrivato l’invito",
    password: "Password, almeno 10 caratteri",
    join: "Partecipa",
    welcome: "Ti diamo il benvenuto! Ora puoi accedere con questo indirizzo:",
    need_code: "Serve un invito: apri il link nel messaggio che hai ricevuto, oppure inserisci il suo codice.",
    link_heading: "Non hai un codice, o è scaduto?",
    link_words: "Inserisci il tuo indirizzo. Se è tra gli invitati, ti mandiamo un nuovo link.",
    link_button: "Mandami un nuovo link",
    link_asked: "Se questo indirizzo è tra gli invitati, un messaggio con un nuovo link è in arrivo. I codici precedenti non valgono più.",
    invalid: "Questo codice non corrisponde a questo indirizzo. Usa l’indirizzo a cui è arrivato l’invito e controlla il codice.",
    used: "Questo invito è già stato usato. Se sei stato tu, accedi.",
    revoked: "Questo invito è stato ritirato. Chi ti ha invitato può dirti di più.",
    expired: "Questo invito è scaduto. Chiedi un nuovo link qui sotto.",
    frozen: "Le iscrizioni sono sospese per il momento. Il tuo invito resta valido: riprova più tardi.",
    closed: "Le iscrizioni per il tuo gruppo non sono aperte adesso.",
    full: "Tutti i posti sono occupati. Sei in lista d’attesa.",
    no_place: "Al momento tutti i posti sono occupati. Riprova più tardi.",
    used_up: "Questo codice ha già fatto entrare tutte le persone previste. Chi te l’ha dato potrebbe averne un altro.",
    account_exists: "Esiste già un account per questo indirizzo: accedi e usa lì il tuo codice.",
    password_rule: "Scegli una password da 10 a 256 caratteri.",
    too_many: "Troppi tentativi. Aspetta un po’ e riprova.",
    other: "Qualcosa è andato storto da parte nostra. Riprova tra un momento.",
};
