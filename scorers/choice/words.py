"""The words with which an answer is given, in small letters, in some fifty languages."""


def phrases(listed: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(phrase for part in listed.split(",") if (phrase := " ".join(part.split()))))


ENGLISH = phrases("""
    answer, ans, option, choice, solution, correct statement, right statement, correct letter, right letter,
    correct one, right one, correct alternative, right alternative, letter, my pick, conclusion, selection, response,
    verdict
""")
"""Words for an answer."""

FOREIGN = phrases("""
    ans., antwort, lösung, auswahl, antwoord, optie, keuze, svaret, svar, svarið, alternativet, alternativ,
    svaralternativ, antwortmöglichkeit, réponse, reponse, choix, respuesta, opción, opcion, alternativa, resposta,
    opção, opcao, gabarito, risposta, opzione, scelta, opció, opcció, răspunsul, răspuns, raspunsul, raspuns,
    varianta, proposition, inciso, odpowiedź, odpowiedz, odpowiedzią, odpověď, odpověd, odpoveď, odgovor, rešitev,
    rješenje, rešenje, možnost, atsakymas, atbilde, variantas, ответ, вариант, відповідь, варіант, адказ, отговор,
    отговорът, одговор, хариулт, жауап, жооп, верный вариант, válasz, megoldás, vastaus, vastausvaihtoehto,
    vaihtoehto, vastus, cevap, cevabı, yanıt, yanıtı, seçenek, şık, cavab, javob, përgjigja, përgjigjja, erantzuna,
    ateb, freagra, jawaban, jawabannya, jawapan, jawapannya, pilihan, opsi, sagot, đáp án, câu trả lời, phương án,
    lựa chọn, jibu, ìdáhùn, idahun, amsa, impendulo, απάντηση, η επιλογή, תשובה, התשובה, האפשרות, الإجابة, الاجابة,
    إجابة, الجواب, جواب, الخيار, پاسخ, گزینه, گزینهٔ, պատասխան, պատասխանը, პასუხი, პასუხია, መልስ, መልሱ, उत्तर, जवाब,
    विकल्प, উত্তর, বিকল্প, જવાબ, ઉત્તર, ਜਵਾਬ, ਉੱਤਰ, பதில், விடை, సమాధానం, జవాబు, ಉತ್ತರ, ഉത്തരം, පිළිතුර, คำตอบ,
    ตัวเลือก, ข้อ, ຄຳຕອບ, ចម្លើយ, အဖြေ, 答え, 解答, 正解, 回答, 選択肢, 정답, 답, 답안, 선택지, 보기, 答案, 选项,
    選項, 结论, 答:, correct:, ответ:, rett svar, richtig ist, ответом, вариантом, опция, опцией, відповіддю, odpovědí,
    odpoveďou, letra, پاسخ صحیح, پاسخ درست, پاسخ نهایی, جواب صحیح, جواب درست, جواب نهایی, گزینه صحیح,
    گزینه درست, گزینهٔ صحیح, گزینهٔ درست
""")
"""The same in other languages; these may also come right before the letter."""

COPULAS = phrases("""
    is, was, =, must be, should be, would be, will be, has to be, ought to be, seems to be, appears to be,
    turns out to be, comes out to be, becomes, remains, are, lies in, corresponds to, is given by, would thus be,
    should therefore be, must therefore be, has got to be, is equal to, matches, equals, 's, est, es, ist, è, é,
    can only be, needs to be, would have to be, is none other than, is still, being
""")
"""Words between such a word and the letter."""

FOREIGN_COPULAS = phrases("""
    ist, lautet, wäre, muss, müsste, sollte, is, luidt, moet, zou, är, er, blir, skal, est, serait, doit être,
    sera, es, sería, debe ser, será, é, seria, deve ser, è, sarebbe, és, este, e, ar fi, to, jest, brzmi, je, zní,
    znie, bude, yra, ir, on, —, –, -, это, является, будет, буде, це, є, е, је, это вариант, под буквой, a, az,
    olan, olmalıdır, dir, adalah, ialah, yaitu, yakni, iaitu, ay, là, ni, shine, είναι, היא, הוא, הינה, هي, هو,
    است, برابر است با, ہے, է, არის, ነው, है, हैं, हो, आहे, হল, হলো, হচ্ছে, છે, ਹੈ, คือ, คือข้อ, ແມ່ນ, គឺ, は, が,
    은, 는, 이, 가, 是, 为, 為, 应是, 应该是, 应为, 應為, 就是, 选, 選, 应选, 應選, に, を, なのは, da,
    solo puede ser, sólo puede ser, só pode ser, può essere solo, può solo essere, kann nur,
    deve essere, ska vara, måste vara, është, yw, ita ce
""")

FILLERS = phrases("""
    option, options, choice, choices, letter, answer, the, therefore, thus, hence, clearly, definitely, certainly,
    simply, just, indeed, obviously, actually, most, likely, probably, still, always, then, so, surely, now,
    really, precisely, exactly, be, to, in fact, that, of, either, both, one of, between, labelled, labeled,
    number, statement, item, given by, indicated by, represented by, denoted by, marked, best, correct, right, is,
    only, i.e., ie, namely, which is, choice of, found in, under, letter:, option:, choice:, answer:, again,
    obtained as, seen to be, found to be, shown to be, considered to be, determined to be, as follows,
    expressed as, stated in, closest to, by elimination, none other than, case, and, final, is:, la, le, el, die,
    der, het, de
""")
"""Optional words between that and the letter."""

FOREIGN_FILLERS = phrases("""
    also, daher, somit, folglich, die, der, das, option, antwort, buchstabe, variante, de, het, dus, letter, optie,
    den, det, alternativ, bokstav, bokstaven, la, le, l', el, lettre, l'option, réponse, donc, bien, lo, letra,
    la letra, opción, entonces, por tanto, a letra, alternativa, a alternativa, opção, a opção, portanto, lettera,
    opzione, quindi, l'opzione, a, az, litera, lit., varianta, odpowiedź, wariant, opcja, písmeno, možnost,
    odpověď, pod, slovo, вариант, буква, под, пункт, варіант, літера, ответ, şıkkı, seçenek, seçeneği, huruf, opsi,
    pilihan, yang, benar, ang, titik, đáp án, phương án, chữ, lựa chọn, câu, herufi, το, η, επιλογή, γράμμα, אות,
    אפשרות, הנכונה, الخيار, الحرف, حرف, رقم, گزینه, گزینهٔ, گزینه ی, विकल्प, বিকল্প, ข้อ, ตัวเลือก, 選択肢, 选项,
    選項, 选, 選, 项, 번, 보기, 선택지, option:, vaihtoehto, kirjain, variant, c'est, ce, to, be, sein, être, ser,
    essere, zijn, vara, være, być, být, olla, إذن, tedy, tehát, więc, zatem, stoga, dakle, deci, dunque, pertanto,
    logo, denn, så, siis, следовательно, значит, отже, поэтому, άρα, לכן, پس, 因此, 所以, thus, therefore
""")

NEGATIONS = phrases("""
    not, never, neither, n't, n’t, cannot, no longer, nicht, kein, keine, pas, no es, não, nao, non, nie, ne, není,
    nu, не, değil, bukan, tidak, không, hindi, δεν, לא, ليس, ليست, نیست, नहीं, নয়, ไม่, ではない, ではありません,
    じゃない, 아니, 不, 不是, 并非, 非, غير, niet, inte, ikke, ei ole, nem, wrong, incorrect, false, falsch, faux,
    hardly, unlikely
""")
"""Negations."""

CONJUNCTIONS = phrases("""
    and, or, and/or, as well as, und, oder, sowie, et, ou, y, o, u, e, i, en, of, och, eller, og, ja, tai, lub,
    albo, a, nebo, alebo, ili, и, или, або, та, ve, veya, ya da, dan, atau, và, hoặc, at, na, au, και, ή, και/ή, ו,
    או, و, أو, یا, और, या, এবং, অথবা, และ, หรือ, と, または, か, 및, 와, 과, 또는, 和, 或, 与, 及, 或者, 以及, 还是,
    還是, それとも, 아니면, és,
    vagy
""")
"""Words that join two letters."""

BEFORE_WRONG = phrases("""
    wrong, incorrect, false, other, another, alternative, possible, initial, previous, first, tempting, distractor,
    bad, worst, worse, common, naive, earlier, user's, student's, second, falsche, mauvaise, incorrecta, errada,
    sbagliata, неверный, неправильный, 错误, 不正确, yanlış, plausible, potential, original, old, remaining,
    invalid, eliminated, mistake, absurd, unlikely, tempted, hesitate, refuse, reluctant, premature, unwise,
    foolish
""")
"""Words before the word for a wrong answer."""

WRONG = phrases("""
    falsch, inkorrekt, unrichtig, onjuist, fout, verkeerd, fel, felaktigt, felaktig, forkert, feil, galt, fausse, faux,
    incorrecte, erronée, erroné, incorrecta, incorrecto, errónea, erróneo, falsa, falso, incorreta, incorreto, errada,
    errado, sbagliata, sbagliato, errata, scorretta, väärin, väärä, hibás, helytelen, rossz, niepoprawna, niepoprawne,
    niepoprawny, błędna, błędne, błędny, nieprawidłowa, nieprawidłowe, špatně, špatná, špatný, nesprávná, nesprávně,
    nesprávny, greșit, greșită, incorect, incorectă, неверный, неверно, неверен, неверна, неверным, неправильным,
    ошибочным, неправильный, неправильно,
    неправильная, неправильна, неправильний, невірний, невірно, невірна, ошибочный, ошибочно, ошибочен, грешен, грешно,
    грешна, pogrešan, pogrešno, netočan, netačan, yanlış, yanlıştır, salah, keliru, sai, mali, λάθος, λανθασμένη,
    λανθασμένο, שגוי, שגויה, לא נכון, לא נכונה, خطأ, خاطئ, خاطئة, غير صحيح, غير صحيحة, نادرست, اشتباه, غلط, गलत, ग़लत,
    ভুল, தவறு, தவறானது, తప్పు, ผิด, ไม่ถูก, ไม่ถูกต้อง, 错误, 錯誤, 错的, 錯的, 不正确, 不正確, 不对, 不對, 间违い, 間違い,
    間違って, 誤り, 誤って, 不正解, 正しくな, 틀렸, 틀린, 틀리, 틀립, 오답, 옳지 않
""")
"""Words for a wrong answer in languages other than English."""

WRONG_COPULAS = phrases("""
    ist, war, wäre, is, was, är, er, est, serait, es, sería, está, é, seria, è, sarebbe, on, este, e, jest, je, byla,
    yra, ir, является, будет, adalah, là, είναι, היא, הוא, هو, هي, ay, —, –, -
""")
"""Optional words between a letter and those."""

VERBS = phrases("""
    i choose, i'd choose, i would choose, i will choose, i'll choose, we choose, i chose, i pick, i'd pick,
    i would pick, i will pick, i'll pick, i select, i'd select, i would select, i'll select, i will select,
    we select, i selected, i picked, go with, going with, went with, opt for, opting for, settle on, settling on,
    i vote for, my vote is for, my vote is, we pick, my pick is, choosing, selecting, picking, must choose,
    should choose, have to choose, to choose, please choose, lean towards, i believe it is, i believe it's,
    i think it is, i think it's, it must be, it has to be, it should be, i say, i'd say, i would say, my guess is,
    best guess is, best guess:, my guess:, i conclude, i mark, select option, choose option, pick option, choose,
    select, mark, circle, tick, ich wähle, ich nehme, ich entscheide mich für, ik kies voor, ik kies, jag väljer,
    jeg velger, jeg vælger, je choisis, je choisirais, on choisit, je sélectionne, elijo, escojo, elegiría,
    selecciono, me quedo con, escolho, eu escolho, seleciono, fico com, marque, scelgo, sceglierei, wybieram,
    vybírám, volím, valitsen, választom, a választásom, aleg, выбираю, я выбираю, выбираем, обираю, избирам,
    saya memilih, saya pilih, chọn, tôi chọn, επιλέγω, אני בוחר, أختار, من گزینه, चुनता हूँ, เลือก, เลือกข้อ, 故选,
    故選, 应选择, 應選擇, 应选, 應選, 选择, 選擇, 所以选, 因此选, 我选, 我選, 我选择, 选, 選, 可选, 本题选, ขอตอบ,
    ตอบ, ตอบข้อ, ninachagua, pinipili ko ang, i am going for, i'm going for, going for, i'll say, i'd say it's,
    i'd say it is, leaning towards, leaning toward, lean toward,
    correcta es, correcto es, verdadera es, respuesta correcta es, solución es, corretta è, giusta è, soluzione è,
    correta é, certa é, solução é, bonne est, bonne réponse est, correcte est, richtig ist, richtig wäre,
    juiste is, правильный —, верный —, 正确的是, 正確的是, 正确的为, 正確的為, 正しいのは,
    správně je, inclined to say, выберу, i will answer, i'll answer, i'd answer, i would answer, i answer
""")
"""Phrases before a letter that is chosen."""

CORRECT = phrases("""
    richtig, richtige, korrekt, juist, juiste, correcte, est correct, bonne réponse, correcta, correta, correto, certa,
    corretta, giusta, respuesta, resposta, risposta, réponse, poprawna, poprawną, prawidłowa, prawidłową, správně,
    správná, správna, верный, верно, верен, правильный, правильно, правильная, правильна, правильний, верният,
    правилният, doğru, doğrudur, benar, betul, tepat, đúng, đáp án, oikein, oikea, helyes, rätt, korrekta, rigtig,
    rigtige, riktig, σωστή, σωστό, נכון, נכונה, הנכונה, الصحيحة, صحيح, صحيحة, درست, صحیح, सही, সঠিক, ถูก, ถูกต้อง,
    正解, 正しい, 正确, 正確, 맞, 정답, 옳, 答え, corretă, corect, corectă, tama, sahihi, 選びます, 選択します,
    선택합니다, 선택하겠습니다, 고르겠습니다, seçiyorum, seçirəm,
    doğrudur, düzgündür, düzgün, चुनता हूँ, चुनती हूँ, चुनूँगा, चुनूंगा, चुनूँगी, चुनते हैं, निवडतो, निवडते, बरोबर, বেছে নেব,
    বেছে নিচ্ছি, বেছে নিলাম, নির্বাচন করছি, নির্বাচন করি, சரியான, சரியானது, தேர்ந்தெடுக்கிறேன், సరైన, సరైనది, ఎంచుకుంటాను,
    ఎంచుకుంటున్నాను, સાચો, સાચું, સાચી, ਸਹੀ, ಸರಿಯಾದ, ಸರಿ, ശരിയായ, ശരി, නිවැරදි, انتخاب میکنم, انتخاب می کنم, برمیگزینم,
    چنتا ہوں, منتخب کرتا ہوں, таңдаймын, дұрыс, тандаймын, туура, зөв, сонгоно, to'g'ri, to‘g‘ri, tanlayman,
    tačan, točan, tačno
""")
"""Words for a right answer, after its letter."""

ENGLISH_CORRECT = phrases("""
    answer, choice, option, correct, right, true, best, valid, solution, one
""")

SUPERLATIVES = phrases("accurate, likely, appropriate, plausible, suitable, probable, reasonable")
"""The last word of "C is the most likely"."""

ADVERBS = phrases("""
    therefore, thus, hence, clearly, indeed, definitely, the, our, my, a, only, single, most, likely, final, best,
    correct, right, probably, in fact, logical, appropriate, accurate, suitable, true, proper, obviously,
    certainly, really, actually, desired, required, only viable, only feasible, only consistent, only remaining
""")
"""Optional words before the word for the answer in "C is the answer"."""

CONCLUSIONS = phrases("""
    hence, therefore, thus, so, ergo, accordingly, consequently, it is, it's, it must be, finally, in conclusion,
    also, daher, somit, donc, por lo tanto, por tanto, portanto, logo, quindi, значит, итак, следовательно, dus,
    alltså, więc, zatem, tehát, deci, 所以, 因此, 故, したがって, よって, 따라서, 그러므로, vậy, jadi, maka, इसलिए,
    لذلك, إذن, demek ki, yani, probably, most likely, i guess, if i had to guess, by elimination,
    by process of elimination, by the process of elimination, final, final choice, correction, tl;dr, ∴, that
    would be, that's, that is, which is, this is, that leaves, this leaves, that leaves us with, this leaves us with,
    that leaves only, this leaves only, that only leaves, so that leaves, so this leaves, which leaves us with,
    we are left with, we're left with, solución, solucion, soluzione, solução, solucao, soluție, solució,
    oplossing, løsning, løsningen, lösning, ratkaisu, rozwiązanie, řešení, riešenie, решение, рішення, çözüm,
    solusi, penyelesaian, lời giải, λύση, פתרון, הפתרון, الحل, definitely, certainly, surely, clearly, obviously,
    leaving us with, leaving only option, leaving only choice
""")
"""Words that start a sentence which gives only a letter."""

CONNECTIVES = frozenset(
    phrases("""
    according, after, although, and, as, based, because, bo, but, by, bởi, car, considering, da, denn, deoarece,
    due, eftersom, for, fordi, from, given, hence, here, if, in, instead, is, karena, kerana, koska, mert, not,
    omdat, or, over, parce, per, perché, pois, ponieważ, porque, porquê, protože, rather, since, so, than, that,
    therefore, these, this, though, thus, vì, weil, when, where, whereas, which, while, with, would, çünkü, как,
    потому, так
""")
)
"""Words that may follow a bare letter, which is then neither an article nor a symbol."""

NOUNS = frozenset(
    phrases("""
    antigen, batteries, battery, block, blood, bond, bonds, cell, cells, chromosome, clamp, clef, compiler, film,
    flat, flats, grade, language, lymphocyte, lymphocytes, major, minor, movie, note, notes, orbital, orbitals,
    program, programming, protein, proteins, ring, section, sections, sharp, string, student, to, type, value,
    values, vitamin, vitamins
""")
)
"""Nouns that make a letter before them part of a name, as in "B cells"."""
